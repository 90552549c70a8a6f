"""How content systems and scripts of lazy loading write an image, with the true answer.

Each is (who writes so, HTML, URL of the picture relative to URL, the attribute that names it). Its alt is "A dog".
"""

from __future__ import annotations

URL = "http://a.test/d/page.html"
GIF = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
SVG = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%203%202'%3E%3C/svg%3E"
WIX = "https://static.wixstatic.com/media/11_ab~mv2.jpg"

LAYOUTS: dict[str, tuple[str, str, str]] = {
    "WordPress": (
        "<img src='/u/dog-1024x683.jpg' alt='A dog' class='wp-image-7' srcset='/u/dog-1024x683.jpg 1024w, "
        "/u/dog-300x200.jpg 300w' sizes='(max-width: 1024px) 100vw, 1024px' loading=lazy decoding=async>",
        "/u/dog-1024x683.jpg",
        "src",
    ),
    "WordPress, Jetpack's carousel": (
        "<img src='/u/dog.jpg?w=640' alt='A dog' data-attachment-id=7 data-permalink='/dog-jpg/' data-orig-file="
        "'/u/dog.jpg' data-orig-size='4000,3000' data-image-title='dog.jpg' data-medium-file='/u/dog.jpg?w=300' "
        "data-large-file='/u/dog.jpg?w=1024'>",
        "/u/dog.jpg?w=640",
        "src",
    ),
    "Jetpack's lazy images": (
        "<img src='/u/dog.jpg?w=1100&amp;ssl=1' alt='A dog' data-lazy-srcset='/u/dog.jpg?w=1280 1280w' data-lazy-src="
        f"'/u/dog.jpg?w=1100&amp;is-pending-load=1#038;ssl=1' srcset='{GIF}'>"
        "<noscript><img src='/u/dog.jpg?w=1100&amp;ssl=1' alt='A dog'></noscript>",
        "/u/dog.jpg?w=1100&ssl=1",
        "src",
    ),
    "Jetpack, with a blank in src": (
        f"<img src='{GIF}' alt='A dog' data-lazy-src='/u/dog.jpg?is-pending-load=1'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-lazy-src",
    ),
    "WP Rocket": (
        f'<img width=600 height=400 src="{SVG}" alt="A dog" data-lazy-srcset="/u/dog.jpg 600w, /u/dog-300x200.jpg 300w"'
        ' data-lazy-sizes="(max-width: 600px) 100vw, 600px" data-lazy-src="/u/dog.jpg">'
        '<noscript><img src="/u/dog.jpg" alt="A dog"></noscript>',
        "/u/dog.jpg",
        "data-lazy-src",
    ),
    "a3 Lazy Load": (
        "<img class='lazy lazy-hidden' src='/plugins/a3-lazy-load/assets/images/lazy_placeholder.gif' "
        "data-lazy-type=image data-src='/u/dog.jpg' alt='A dog'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-src",
    ),
    "Smush": (
        f"<img class=lazyload data-src='/u/dog.jpg' src='{GIF}' alt='A dog' style='--smush-placeholder-width: 600px'>",
        "/u/dog.jpg",
        "data-src",
    ),
    "EWWW": (
        f"<img src='{GIF}' class=lazyload data-src='/u/dog.jpg' data-srcset='/u/dog.jpg 900w' data-sizes=auto "
        "data-eio-rwidth=900 data-eio-rheight=600 alt='A dog'><noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-src",
    ),
    "WP Fastest Cache": (
        f"<img onload='Wpfcll.r(this,true);' src='{GIF}' data-wpfc-original-src='/u/dog.jpg' "
        "data-wpfc-original-srcset='/u/dog.jpg 900w' alt='A dog'>",
        "/u/dog.jpg",
        "data-wpfc-original-src",
    ),
    "Optimole": (
        "<img data-opt-src='https://x.i.optimole.com/w:900/h:600/q:90/https://a.test/u/dog.jpg' alt='A dog' "
        "src='https://x.i.optimole.com/w:45/h:30/q:eco/f:blur/https://a.test/placeholder.svg'>",
        "https://x.i.optimole.com/w:900/h:600/q:90/https://a.test/u/dog.jpg",
        "data-opt-src",
    ),
    "Avada (Fusion)": (
        f"<img src='{SVG.replace(chr(39), '%22')}' data-orig-src='/u/dog.jpg' class=lazyload alt='A dog'>",
        "/u/dog.jpg",
        "data-orig-src",
    ),
    "tagDiv's Newspaper": (
        f"<img class='td-animation-stack-type0-1' src='{GIF}' alt='A dog' data-type=image_tag "
        "data-img-url='/u/dog-218x150.jpg' data-img-retina-url='/u/dog-436x300.jpg' width=218 height=150>",
        "/u/dog-218x150.jpg",
        "data-img-url",
    ),
    "GTranslate": ("<img data-gt-lazy-src='/flags/en.png' alt='A dog'>", "/flags/en.png", "data-gt-lazy-src"),
    "Cloudflare Mirage": (
        "<img data-cfsrc='/u/dog.jpg' alt='A dog' style='display:none;visibility:hidden'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-cfsrc",
    ),
    "PageSpeed": (
        "<img data-pagespeed-lazy-src='dog.jpg.pagespeed.ic.x.jpg' src='/pagespeed_static/1.JiBnMqyl6S.gif' alt='A dog'"
        " onload='pagespeed.lazyLoadImages.loadIfVisibleAndMaybeBeacon(this);'>",
        "dog.jpg.pagespeed.ic.x.jpg",
        "data-pagespeed-lazy-src",
    ),
    "Ezoic": (f"<img src='{GIF}' data-ezsrc='/u/dog.jpg' ezimgfmt='rs' alt='A dog'>", "/u/dog.jpg", "data-ezsrc"),
    "lazysizes": (
        "<img data-sizes=auto src='/lqip/dog.jpg' data-srcset='/u/dog1.jpg 300w, /u/dog2.jpg 600w, /u/dog3.jpg 900w' "
        "class=lazyload alt='A dog'>",
        "/u/dog3.jpg",
        "data-srcset",
    ),
    "lazysizes, <picture>": (
        "<picture><source data-srcset='/u/500.jpg' media='(max-width: 500px)'><source data-srcset='/u/1200.jpg'>"
        "<img src='/u/fallback-image.jpg' data-src='/u/1024.jpg' class=lazyload alt='A dog'></picture>",
        "/u/1024.jpg",
        "data-src",
    ),
    "lazysizes, bgset": ("<img class=lazyload data-bgset='/u/dog.jpg 900w' alt='A dog'>", "/u/dog.jpg", "data-bgset"),
    "lozad": ("<img class=lozad data-src='dog.png' data-loaded=no alt='A dog'>", "dog.png", "data-src"),
    "vanilla-lazyload": (
        "<img alt='A dog' class=lazy data-src='dog.jpg' data-srcset='dog_400.jpg 400w, dog_800.jpg 800w' "
        "data-sizes='(min-width: 20em) 35vw, 100vw'>",
        "dog.jpg",
        "data-src",
    ),
    "b-lazy": (
        f"<img class=b-lazy src='{GIF}' data-src='dog.jpg' data-src-small='dog-small.jpg' alt='A dog'>",
        "dog.jpg",
        "data-src",
    ),
    "b-lazy, two densities": (
        f"<img class=b-lazy src='{GIF}' data-src='dog.jpg|dog@2x.jpg' alt='A dog'>",
        "dog.jpg",
        "data-src",
    ),
    "Echo.js": ("<img src='img/blank.gif' alt='A dog' data-echo='img/dog.jpg'>", "img/dog.jpg", "data-echo"),
    "unveil": (
        "<img src='bg.png' data-src='img1.jpg' data-src-retina='img1-retina.jpg' alt='A dog'>",
        "img1.jpg",
        "data-src",
    ),
    "jQuery lazyload": (
        "<img class=lazy data-original='img/dog.jpg' width=640 height=480 alt='A dog'>",
        "img/dog.jpg",
        "data-original",
    ),
    "Slick": ("<img data-lazy='img/dog.png' alt='A dog'>", "img/dog.png", "data-lazy"),
    "Flickity": (
        "<img class=carousel-cell-image data-flickity-lazyload='tulip.jpg' alt='A dog'>",
        "tulip.jpg",
        "data-flickity-lazyload",
    ),
    "Owl Carousel": (
        "<img class=owl-lazy data-src='/u/dog.jpg' data-src-retina='/u/dog2x.jpg' alt='A dog'>",
        "/u/dog.jpg",
        "data-src",
    ),
    "Shopify": (
        "<img class=lazyload src='//cdn.test/p/dog_300x300.jpg?v=1' data-src='//cdn.test/p/dog_{width}x.jpg?v=1' "
        "data-widths='[180, 360, 540, 720]' data-aspectratio='1.5' data-sizes=auto alt='A dog'>",
        "http://cdn.test/p/dog_720x.jpg?v=1",
        "data-src",
    ),
    "Shopify, widths beyond any use": (
        "<img class=lazyload data-src='//cdn.test/p/dog_{width}x.jpg' data-widths='[540, 2048, 4472]' alt='A dog'>",
        "http://cdn.test/p/dog_2048x.jpg",
        "data-src",
    ),
    "Squarespace": (
        "<noscript><img src='https://s.test/1/dog.jpg' alt='A dog'></noscript><img class=thumb-image "
        "data-src='https://s.test/1/dog.jpg' data-image='https://s.test/1/dog.jpg' data-image-dimensions=2500x1667 "
        "data-image-focal-point='0.5,0.5' data-load=false data-type=image alt='A dog'>",
        "https://s.test/1/dog.jpg",
        "src",
    ),
    "Medium": (
        "<figure><div><img src='https://miro.medium.com/max/60/1*a_b.jpeg?q=20' alt='A dog'></div>"
        "<noscript><img alt='A dog' src='https://miro.medium.com/max/2000/1*a_b.jpeg'></noscript></figure>",
        "https://miro.medium.com/max/2000/1*a_b.jpeg",
        "noscript src",
    ),
    "Wix": (
        "<wow-image data-image-info='{\"imageData\":{\"uri\":\"11_ab~mv2.jpg\"}}'>"
        f"<img src='{WIX}/v1/fill/w_147,h_98,al_c,q_80,usm_0.66_1.00_0.01,blur_2,enc_auto/dog.jpg' alt='A dog'>",
        WIX,
        "src",
    ),
    "Drupal's Blazy": (
        f"<div class='media media--blazy'><img alt='A dog' decoding=async class='media__element b-lazy' "
        f"data-src='/sites/default/files/styles/large/dog.jpg?itok=x' src='{SVG.replace(chr(39), '%22')}'></div>",
        "/sites/default/files/styles/large/dog.jpg?itok=x",
        "data-src",
    ),
    "Magento's swatches": (
        "<img class=product-image-photo src='/media/dog.jpg' data-hover='/media/dog-back.jpg' alt='A dog' "
        "data-zoom-image='/media/dog-large.jpg' data-alt-src='/media/dog-2.jpg'>",
        "/media/dog.jpg",
        "src",
    ),
    "Next.js": (
        f"<span><img alt='A dog' src='{GIF}' decoding=async data-nimg=fill><noscript><img alt='A dog' srcSet="
        "'/_next/image?url=%2Fdog.jpg&amp;w=640&amp;q=75 640w, /_next/image?url=%2Fdog.jpg&amp;w=3840&amp;q=75 3840w' "
        "src='/_next/image?url=%2Fdog.jpg&amp;w=3840&amp;q=75'></noscript></span>",
        "/_next/image?url=%2Fdog.jpg&w=3840&q=75",
        "noscript src",
    ),
    "Gatsby": (
        "<div class=gatsby-image-wrapper><img aria-hidden=true src='data:image/jpeg;base64,/9j/4AAQ' alt=''>"
        "<noscript><picture><source srcset='/static/1/dog.webp 800w'><img loading=lazy src='/static/2/dog.jpg' "
        "alt='A dog'></picture></noscript></div>",
        "/static/2/dog.jpg",
        "src",
    ),
    "Gatsby 3": (
        "<div class=gatsby-image-wrapper><picture><source type='image/webp' data-srcset='/static/1/dog.webp 800w'>"
        "<img data-gatsby-image-ssr='' data-main-image='' data-src='/static/2/dog.jpg' alt='A dog'></picture></div>",
        "/static/2/dog.jpg",
        "data-src",
    ),
    "Nuxt": (
        "<img src='/_ipx/w_900/dog.jpg' alt='A dog' data-nuxt-img srcset='/_ipx/w_900/dog.jpg 1x'>",
        "/_ipx/w_900/dog.jpg",
        "src",
    ),
    "Ghost": (
        "<img class=kg-image src='/content/images/2024/01/dog.jpg' alt='A dog' loading=lazy "
        "srcset='/content/images/size/w600/2024/01/dog.jpg 600w, /content/images/size/w1000/2024/01/dog.jpg 1000w'>",
        "/content/images/2024/01/dog.jpg",
        "src",
    ),
    "AMP": (
        "<amp-img src='/dog.jpg' srcset='/dog.jpg 900w, /dog-s.jpg 300w' width=9 height=6 alt='A dog'>"
        "<noscript><img src='/dog.jpg' alt='A dog'></noscript></amp-img>",
        "/dog.jpg",
        "src",
    ),
    "AMP, animated": (
        "<amp-anim src='/dog.gif' width=9 height=6 alt='A dog'><amp-img placeholder src='/dog-s.png' alt='A dog'>"
        "</amp-img></amp-anim>",
        "/dog.gif",
        "src",
    ),
    "Cloudinary": (
        "<img data-src='https://res.cloudinary.com/x/image/upload/w_auto,c_scale/dog.jpg' class=cld-responsive "
        "src='https://res.cloudinary.com/x/image/upload/e_blur:1000,q_1,w_50/dog.jpg' alt='A dog'>",
        "https://res.cloudinary.com/x/image/upload/w_auto,c_scale/dog.jpg",
        "data-src",
    ),
    "imgix": (
        "<img ix-src='https://x.imgix.net/dog.jpg?w=900' alt='A dog' sizes='100vw'>",
        "https://x.imgix.net/dog.jpg?w=900",
        "ix-src",
    ),
    "Mobify": ("<img x-src='/u/dog.jpg' alt='A dog'>", "/u/dog.jpg", "x-src"),
    "Foundation's Interchange": (
        "<img data-interchange='[/u/dog-s.jpg, small], [/u/dog-m.jpg, medium], [/u/dog-l.jpg, large]' alt='A dog'>",
        "/u/dog-l.jpg",
        "data-interchange",
    ),
    "MediaWiki": (
        "<a href='/wiki/File:Dog.jpg'><img alt='A dog' src='/thumb/Dog.jpg/220px-Dog.jpg' data-file-width=2000 "
        "data-file-height=1500 srcset='/thumb/Dog.jpg/330px-Dog.jpg 1.5x, /thumb/Dog.jpg/440px-Dog.jpg 2x'></a>",
        "/thumb/Dog.jpg/220px-Dog.jpg",
        "src",
    ),
    "MediaWiki's mobile view": (
        "<noscript><img src='/thumb/Dog.jpg/220px-Dog.jpg' alt='A dog'></noscript>"
        "<span class=lazy-image-placeholder data-src='/thumb/Dog.jpg/220px-Dog.jpg' data-alt='A dog'></span>",
        "/thumb/Dog.jpg/220px-Dog.jpg",
        "src",
    ),
    "Discuz": (
        "<img src='static/image/common/none.gif' zoomfile='data/dog.jpg' file='data/dog.thumb.jpg' alt='A dog'>",
        "data/dog.jpg",
        "zoomfile",
    ),
    "AngularJS": ("<img src='{{dog.url}}' ng-src='/u/dog.jpg' alt='A dog'>", "/u/dog.jpg", "ng-src"),
    "vue-lazyload": ("<img v-lazy=\"'/u/dog.jpg'\" alt='A dog'>", "/u/dog.jpg", "v-lazy"),
    "IMDb": ("<img src='/i/nopicture.png' loadlate='/u/dog.jpg' alt='A dog'>", "/u/dog.jpg", "loadlate"),
    "Layui": ("<img lay-src='/u/dog.jpg' alt='A dog'>", "/u/dog.jpg", "lay-src"),
    "WeChat": (
        "<img data-src='https://mmbiz.test/mmbiz_jpg/abc/640?wx_fmt=jpeg' data-ratio='0.66' alt='A dog'>",
        "https://mmbiz.test/mmbiz_jpg/abc/640?wx_fmt=jpeg",
        "data-src",
    ),
    "sizes in JSON": (
        f"<img src='{GIF}' data-sources='{{\"640\": \"/u/dog-640.jpg\", \"1280\": \"/u/dog-1280.jpg\"}}' alt='A dog'>",
        "/u/dog-1280.jpg",
        "data-sources",
    ),
    "JSON with widths": (
        "<img data-media='[{\"url\":\"/u/s.jpg\",\"width\":100},{\"url\":\"/u/l.jpg\",\"width\":900}]' alt='A dog'>",
        "/u/l.jpg",
        "data-media",
    ),
    "a set under another name": (
        f"<img src='{GIF}' data-variants='/u/s.jpg 100w, /u/l.jpg 900w' alt='A dog'>",
        "/u/l.jpg",
        "data-variants",
    ),
    "a link to the page": (
        "<img src='/u/dog.jpg' data-url='/dogs/' data-lazy=true data-src='/dogs/1.html' alt='A dog'>",
        "/u/dog.jpg",
        "src",
    ),
}  # fmt: skip
