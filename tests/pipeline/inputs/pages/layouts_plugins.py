"""How plugins of content systems and scripts that load an image late write it, with the true answer."""

from __future__ import annotations

from tests.pipeline.inputs.pages.layouts import GIF, GITHUB, SVG, SVG_QUOTED, Layout

PLUGINS: dict[str, Layout] = {
    # ── of WordPress ──
    "Jetpack's carousel": Layout(
        "<img data-attachment-id=7 data-permalink='/dog-jpg/' data-orig-file='/u/dog.jpg' data-orig-size='4000,3000' "
        "data-comments-opened=1 data-image-meta='{&quot;aperture&quot;:&quot;0&quot;}' data-image-title=dog "
        "data-image-description='' data-image-caption='&lt;p&gt;A dog&lt;/p&gt;' data-medium-file='/u/dog.jpg?w=300' "
        "data-large-file='/u/dog.jpg?w=1024' src='/u/dog.jpg?w=640' alt='A dog' class=wp-image-7>",
        "/u/dog.jpg?w=640",
        "src",
        f"{GITHUB}/Automattic/jetpack/blob/006eff828db4/projects/plugins/jetpack/modules/carousel/jetpack-carousel.php",
    ),
    "Jetpack's lazy images": Layout(
        "<img src='/u/dog.jpg?w=1100&amp;ssl=1' alt='A dog' data-lazy-srcset='/u/dog.jpg?w=1280 1280w' "
        f"data-lazy-src='/u/dog.jpg?w=1100&amp;is-pending-load=1#038;ssl=1' srcset='{GIF}' class=' jetpack-lazy-image'>"
        "<noscript><img data-lazy-fallback=1 src='/u/dog.jpg?w=1100&amp;ssl=1' alt='A dog' /></noscript>",
        "/u/dog.jpg?w=1100&ssl=1",
        "src",
        f"{GITHUB}/Automattic/jetpack/blob/014d7563a267/projects/packages/lazy-images/src/lazy-images.php",
    ),
    "Jetpack, with a blank in src": Layout(
        f"<img src='{GIF}' alt='A dog' data-lazy-src='/u/dog.jpg?is-pending-load=1'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-lazy-src",
        "",
    ),
    "Automattic's Lazy Load": Layout(
        '<img src="/wp-content/plugins/lazy-load/images/1x1.trans.gif" data-lazy-src="/u/dog.jpg" alt="A dog">'
        '<noscript><img src="/u/dog.jpg" alt="A dog"></noscript>',
        "/u/dog.jpg",
        "data-lazy-src",
        f"{GITHUB}/Automattic/lazy-load/blob/024023fc306c/lazy-load.php",
    ),
    "WP Rocket": Layout(
        f'<img width=600 height=400 src="{SVG}" alt="A dog" data-lazy-srcset="/u/dog.jpg 600w, /u/dog-300x200.jpg 300w"'
        ' data-lazy-sizes="(max-width: 600px) 100vw, 600px" data-lazy-src="/u/dog.jpg">'
        '<noscript><img width=600 height=400 src="/u/dog.jpg" alt="A dog" srcset="/u/dog.jpg 600w"></noscript>',
        "/u/dog.jpg",
        "data-lazy-src",
        f"{GITHUB}/wp-media/rocket-lazyload-common/blob/050ba0372c10/src/Image.php",
    ),
    "a3 Lazy Load": Layout(
        "<img class='lazy lazy-hidden' src='//a.test/wp-content/plugins/a3-lazy-load/assets/images/"
        "lazy_placeholder.gif' data-lazy-type=image data-src='/u/dog.jpg' alt='A dog' srcset='' data-srcset="
        "'/u/dog.jpg 900w'><noscript><img src='/u/dog.jpg' alt='A dog' srcset='/u/dog.jpg 900w'></noscript>",
        "/u/dog.jpg",
        "data-src",
        f"{GITHUB}/a3rev/a3-lazy-load/blob/0778829e1d17/classes/class-a3-lazy-load.php",
    ),
    "BJ Lazy Load": Layout(
        "<img class='lazy lazy-hidden' src='data:image/gif;base64,R0lGODdhAQABAPAAAP///wAAACwAAAAAAQABAEACAkQBADs=' "
        "data-lazy-type=image data-lazy-src='/u/dog.jpg' alt='A dog' data-lazy-srcset='/u/dog.jpg 900w'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog' srcset='/u/dog.jpg 900w'></noscript>",
        "/u/dog.jpg",
        "data-lazy-src",
        f"{GITHUB}/Angrycreative/bj-lazy-load/blob/095d77bab843/inc/class-bjll.php",
    ),
    "LiteSpeed Cache": Layout(
        "<img data-lazyloaded=1 src='data:image/svg+xml;base64,PHN2Zy8+' alt='A dog' data-src='/u/dog.jpg' data-srcset="
        "'/u/dog.jpg 900w' data-sizes='(max-width: 900px) 100vw, 900px'><noscript><img alt='A dog' src='/u/dog.jpg' "
        "srcset='/u/dog.jpg 900w'></noscript>",
        "/u/dog.jpg",
        "data-src",
        f"{GITHUB}/litespeedtech/lscache_wp/blob/0350fdfbeaf9/src/placeholder.cls.php",
    ),
    "Smush": Layout(
        "<img data-src='/u/dog.jpg' data-srcset='/u/dog.jpg 600w' data-sizes='(max-width: 600px) 100vw, 600px' "
        "alt='A dog' src='data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==' class=lazyload "
        "style='--smush-placeholder-width: 600px; --smush-placeholder-aspect-ratio: 600/400;'>",
        "/u/dog.jpg",
        "data-src",
        f"{GITHUB}/mathiasjespersen/litografisk-wp/blob/79d9a06c85ae/wp-content/plugins/wp-smushit/core/lazy-load/"
        "class-lazy-load-transform.php",
    ),
    "EWWW": Layout(
        f"<img alt='A dog' decoding=async srcset='{GIF}' class=lazyload data-src='/u/dog.jpg' data-srcset='/u/dog.jpg "
        "900w' data-sizes=auto data-eio-rwidth=900 data-eio-rheight=600>"
        "<noscript><img src='/u/dog.jpg' alt='A dog' srcset='/u/dog.jpg 900w' data-eio=l></noscript>",
        "/u/dog.jpg",
        "data-src",
        f"{GITHUB}/nosilver4u/ewww-image-optimizer/blob/05c67650d547/classes/class-lazy-load.php",
    ),
    "WP Fastest Cache": Layout(
        "<img onload='Wpfcll.r(this,true);' src='//a.test/wp-content/plugins/wp-fastest-cache-premium/pro/images/"
        "blank.gif' data-wpfc-original-src='/u/dog.jpg' data-wpfc-original-srcset='/u/dog.jpg 900w' alt='A dog'>",
        "/u/dog.jpg",
        "data-wpfc-original-src",
        f"{GITHUB}/shenzt68/wp-fastest-cache-premium/blob/a84f5aaf2d72/pro/library/lazy-load.php",
    ),
    "Optimole": Layout(
        "<img data-opt-src='https://x.i.optimole.com/w:900/h:600/q:90/https://a.test/u/dog.jpg' alt='A dog' "
        "src='https://x.i.optimole.com/w:900/h:600/q:eco/https://a.test/u/dog.jpg' old-srcset='/u/dog.jpg 900w'>"
        "<noscript><img alt='A dog' src='https://x.i.optimole.com/w:900/h:600/q:90/https://a.test/u/dog.jpg'>"
        "</noscript>",
        "https://x.i.optimole.com/w:900/h:600/q:90/https://a.test/u/dog.jpg",
        "data-opt-src",
        f"{GITHUB}/Codeinwp/optimole-wp/blob/00333c62d535/inc/lazyload_replacer.php",
    ),
    "Avada (Fusion)": Layout(
        f"<img src='{SVG_QUOTED}' data-orig-src='/u/dog.jpg' class=lazyload alt='A dog'>",
        "/u/dog.jpg",
        "data-orig-src",
        "",
    ),
    "tagDiv's Newspaper": Layout(
        f"<img class='tdm-image td-fix-index td-lazy-img' src='{GIF}' data-type=image_tag "
        "data-img-url='/u/dog-218x150.jpg' alt='A dog' width=218 height=150>",
        "/u/dog-218x150.jpg",
        "data-img-url",
        "",
    ),
    "GTranslate": Layout(
        "<a href='#' class=nturl><img data-gt-lazy-src='/flags/24/en.png' height=24 width=24 alt='A dog' /></a>",
        "/flags/24/en.png",
        "data-gt-lazy-src",
        "",
    ),
    # ── scripts of lazy loading ──
    "lazysizes": Layout(
        "<img data-sizes=auto src='/lqip/dog.jpg' data-srcset='/lqip/dog.jpg 220w, /u/dog2.jpg 300w, /u/dog3.jpg 600w, "
        "/u/dog4.jpg 900w' class=lazyload alt='A dog'>",
        "/u/dog4.jpg",
        "data-srcset",
        f"{GITHUB}/aFarkas/lazysizes#readme",
    ),
    "lazysizes, densities": Layout(
        "<img src='data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==' class=lazyload "
        "data-srcset='dog.jpg 1x, dog2.jpg 2x' alt='A dog'>",
        "dog2.jpg",
        "data-srcset",
        f"{GITHUB}/aFarkas/lazysizes#readme",
    ),
    "lazysizes, with a copy": Layout(
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>"
        "<img src='grey.jpg' data-src='/u/dog.jpg' class=lazyload alt='A dog'>",
        "/u/dog.jpg",
        "src",
        f"{GITHUB}/aFarkas/lazysizes#readme",
    ),
    "lazysizes, RIaS": Layout(
        "<img data-widths='[160, 320]' data-absurl=false data-src='http://wit.test/w_{width}/http://a.test/u/dog.jpg' "
        "data-sizes=auto class=lazyload alt='A dog'>",
        "http://wit.test/w_320/http://a.test/u/dog.jpg",
        "data-src",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS in a set": Layout(
        "<img data-srcset='/w/{width}/dog.jpg' data-widths='[320, 480, 640]' data-sizes=auto class=lazyload "
        "alt='A dog'>",
        "/w/640/dog.jpg",
        "data-srcset",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS with its own widths": Layout(
        "<img data-src='http://wit.test/w_{width}/http://a.test/u/dog.jpg' src='/small/dog.jpg' data-sizes=auto "
        "class=lazyload alt='A dog'>",
        "http://wit.test/w_1944/http://a.test/u/dog.jpg",
        "data-src",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS with a name of one's own": Layout(
        "<img data-custom=foo data-src='http://wit.test/{width}/{custom}' data-sizes=auto class=lazyload alt='A dog'>",
        "http://wit.test/1944/foo",
        "data-src",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS with a ratio": Layout(
        "<img data-src='/w/{width}x{height}/dog.jpg' data-aspectratio=2 data-sizes=auto class=lazyload alt='A dog'>",
        "/w/1944x972/dog.jpg",
        "data-src",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS in a <picture>": Layout(
        "<picture><source data-srcset='/w/{width}/dog.jpg' media='(max-width: 1090px)'><source "
        "data-srcset='/w/{width}/dog-wide.jpg'><img src='/w/100/dog.jpg' data-sizes=auto class=lazyload "
        "alt='A dog'></picture>",
        "/w/1944/dog.jpg",
        "source srcset",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "lazysizes, RIaS in a <picture> by data-src": Layout(
        "<picture><source data-src='/w/{width}/dog'><img src='/w/100/dog.jpg' data-sizes=auto class=lazyload "
        "alt='A dog'></picture>",
        "/w/1944/dog",
        "source srcset",
        f"{GITHUB}/aFarkas/lazysizes/blob/01fe48672dd3/plugins/rias/README.md",
    ),
    "a <picture> whose <source> has an attribute that no script reads": Layout(
        "<picture><source data-src='/u/other.webp'><img src='/u/dog.jpg' alt='A dog'></picture>",
        "/u/dog.jpg",
        "src",
        "",
    ),
    "lazysizes, RIaS in a <picture> with widths": Layout(
        "<picture><source data-srcset='/w/{width}/{format}/dog.jpg'><img src='/w/100/dog.jpg' data-widths='[320, 640]' "
        "data-format=full data-sizes=auto class=lazyload alt='A dog'></picture>",
        "/w/640/full/dog.jpg",
        "source srcset",
        "",
    ),
    "progressive-image.js": Layout(
        "<a href='/u/dog.jpg' class='progressive replace'>\n<img src='/u/tiny.jpg' class=preview alt='A dog' />\n</a>",
        "/u/dog.jpg",
        "link href",
        f"{GITHUB}/craigbuckler/progressive-image.js#readme",
    ),
    "progressive-image.js, with a link of its own": Layout(
        "<a href='/dogs.html' data-href='/u/dog.jpg' class='progressive replace wide'><img src='/u/tiny.jpg' "
        "class='preview x' alt='A dog'></a>",
        "/u/dog.jpg",
        "link href",
        "",
    ),
    "lazysizes, <picture>": Layout(
        "<picture><source data-srcset='/u/500.jpg' media='(max-width: 500px)'><source data-srcset='/u/1200.jpg'>"
        "<img src='/u/fallback-image.jpg' data-src='/u/1024.jpg' class=lazyload alt='A dog'></picture>",
        "/u/1024.jpg",
        "data-src",
        "",
    ),
    "lazysizes, bgset": Layout(
        "<img class=lazyload data-bgset='/u/dog.jpg 900w' alt='A dog'>", "/u/dog.jpg", "data-bgset", ""
    ),
    "lozad": Layout(
        "<img class=lozad data-src='dog.png' data-srcset='dog.png 1000w, dog-2x.png 2000w' alt='A dog'>",
        "dog.png",
        "data-src",
        f"{GITHUB}/ApoorvSaxena/lozad.js#readme",
    ),
    "lozad, <picture>": Layout(
        "<picture class=lozad style='display: block; min-height: 1rem' data-iesrc='images/04.jpg' data-alt='A dog'>"
        "<source srcset='images/04.jpg' media='(min-width: 1280px)'><source srcset='images/05.jpg' media='(min-width: "
        "980px)'><noscript><img src='images/04.jpg' alt='A dog'></noscript></picture>",
        "images/04.jpg",
        "src",
        f"{GITHUB}/ApoorvSaxena/lozad.js#readme",
    ),
    "vanilla-lazyload": Layout(
        "<img alt='A dog' class=lazy data-src='dog.jpg' data-srcset='dog_400.jpg 400w, dog_800.jpg 800w' "
        "data-sizes=100w>",
        "dog.jpg",
        "data-src",
        "https://unpkg.com/browse/vanilla-lazyload@19.1.3/README.md",
    ),
    "vanilla-lazyload, with a preview": Layout(
        "<img alt='A dog' class=lazy src='dog-lowQuality.jpg' data-src='dog.jpg'>",
        "dog.jpg",
        "data-src",
        "https://unpkg.com/browse/vanilla-lazyload@19.1.3/README.md",
    ),
    "vanilla-lazyload 4, <picture>": Layout(
        "<picture><source media='(min-width: 1024px)' data-original-set='/u/dog1a.jpg' /><source media='(min-width: "
        "500px)' data-original-set='/u/dog1b.jpg' /><img alt='A dog' data-original='/u/dog1.jpg'></picture>",
        "/u/dog1.jpg",
        "data-original",
        f"{GITHUB}/verlok/vanilla-lazyload/blob/00b410de05c1/README.md",
    ),
    "b-lazy": Layout(
        f"<img class=b-lazy src='{GIF}' data-src='dog.jpg' data-src-small='dog-small.jpg' alt='A dog'>",
        "dog.jpg",
        "data-src",
        "",
    ),
    "b-lazy, two densities": Layout(
        f"<img class=b-lazy src='{GIF}' data-src='dog.jpg|dog@2x.jpg' alt='A dog'>",
        "dog.jpg",
        "data-src",
        f"{GITHUB}/dinbror/blazy#readme",
    ),
    "Echo.js": Layout(
        "<img src='img/blank.gif' alt='A dog' data-echo='img/dog.jpg'>",
        "img/dog.jpg",
        "data-echo",
        f"{GITHUB}/toddmotto/echo#readme",
    ),
    "unveil": Layout(
        "<img src='bg.png' data-src='img1.jpg' data-src-retina='img1-retina.jpg' alt='A dog' />",
        "img1.jpg",
        "data-src",
        f"{GITHUB}/luis-almeida/unveil#readme",
    ),
    "QuickImg": Layout(
        "<img src='./photos/dog-low.jpg' data-hd-src='./photos/dog-high.jpg' height=128 width=128 alt='A dog' />",
        "./photos/dog-high.jpg",
        "data-hd-src",
        f"{GITHUB}/bfontaine/QuickImg#readme",
    ),
    "jQuery lazyload": Layout(
        "<img class=lazy data-original='img/dog.jpg' width=640 height=480 alt='A dog'>",
        "img/dog.jpg",
        "data-original",
        "https://npmjs.com/package/jquery-lazyload",
    ),
    "vue-lazyload": Layout(
        "<img v-lazy=\"'/u/dog.jpg'\" alt='A dog'>", "/u/dog.jpg", "v-lazy", f"{GITHUB}/hilongjw/vue-lazyload#readme"
    ),
    "AngularJS": Layout(
        "<img ng-src='/u/dog.jpg' alt='A dog' />",
        "/u/dog.jpg",
        "ng-src",
        "https://docs.angularjs.org/api/ng/directive/ngSrc",
    ),
    "Layui": Layout(
        "<img lay-src='/u/dog.jpg' alt='A dog'>",
        "/u/dog.jpg",
        "lay-src",
        f"{GITHUB}/layui/layui/blob/10ed0c19a7d3/docs/flow/index.md",
    ),
    # ── carousels ──
    "Slick": Layout(
        "<img data-lazy='img/dog.png' alt='A dog'/>", "img/dog.png", "data-lazy", "https://kenwheeler.github.io/slick/"
    ),
    "Flickity": Layout(
        "<img class=carousel__image data-flickity-lazyload='dog.jpg' alt='A dog' />",
        "dog.jpg",
        "data-flickity-lazyload",
        "https://app.unpkg.com/flickity@3.0.0/files/sandbox/lazyload.html",
    ),
    "Flickity, with a set": Layout(
        "<img data-flickity-lazyload-srcset='dog.jpg 720w, dog-s.jpg 360w' data-flickity-lazyload-src='dog.jpg' "
        "alt='A dog' />",
        "dog.jpg",
        "data-flickity-lazyload-src",
        "https://app.unpkg.com/flickity@3.0.0/files/js/lazyload.js",
    ),
    "Owl Carousel": Layout(
        "<img class=owl-lazy data-src='/u/dog.jpg' data-src-retina='/u/dog2x.jpg' alt='A dog'>",
        "/u/dog.jpg",
        "data-src",
        "https://owlcarousel2.github.io/OwlCarousel2/demos/lazyLoad.html",
    ),
    "Owl Carousel, <picture>": Layout(
        "<picture><source class=owl-lazy media='(min-width: 650px)' data-srcset='/u/dog-large.jpg'><source "
        "class=owl-lazy media='(min-width: 350px)' data-srcset='/u/dog-medium.jpg'><img class=owl-lazy "
        "data-src='/u/dog-fallback.jpg' alt='A dog'></picture>",
        "/u/dog-fallback.jpg",
        "data-src",
        "https://owlcarousel2.github.io/OwlCarousel2/demos/lazyLoad.html",
    ),
    # ── scripts for the size of the screen ──
    "Foundation's Interchange": Layout(
        "<img data-interchange='[/u/dog-s.jpg, small], [/u/dog-m.jpg, medium], [/u/dog-l.jpg, large]' alt='A dog'>",
        "/u/dog-l.jpg",
        "data-interchange",
        "https://unpkg.com/foundation-sites@6.7.0/docs/pages/interchange.md",
    ),
    "Foundation 5's Interchange": Layout(
        "<img data-interchange='[/u/dog-s.jpg, (small)], [/u/dog-m.jpg, (medium)], [/u/dog-l.jpg, (large)]' "
        "alt='A dog'><noscript><img src='/u/dog-default.jpg'></noscript>",
        "/u/dog-l.jpg",
        "data-interchange",
        "https://app.unpkg.com/zurb-foundation-5@5.4.7/files/doc/pages/components/interchange.html",
    ),
    "Picturefill 1": Layout(
        "<span data-picture data-alt='A dog'><span data-src='small.jpg'></span><span data-src='large.jpg' "
        "data-media='(min-width: 800px)'></span><noscript><img src='small.jpg' alt='A dog'></noscript></span>",
        "small.jpg",
        "src",
        f"{GITHUB}/scottjehl/picturefill/blob/1.2.1/README.md",
    ),
    "Picturefill": Layout(
        "<picture><source srcset='../img/dog.svg' media='(min-width: 768px)' /><img srcset='default.png' alt='A dog' />"
        "</picture>",
        "default.png",
        "srcset",
        f"{GITHUB}/scottjehl/picturefill#readme",
    ),
    "a preview beside the picture": Layout(
        "<img previewsrc='dog-preview.avif' src='dog.avif' width=1200 height=800 alt='A dog'>",
        "dog.avif",
        "src",
        "https://microsoftedge.github.io/MSEdgeExplainers/ImagePreview/explainer.html",
    ),
}  # fmt: skip
