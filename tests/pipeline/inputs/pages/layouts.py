"""How content systems, frameworks and image services write an image, with the true answer.

Each is written as its source shows it, with file names of ours. layouts_plugins.py has the plugins and scripts that
load an image late.
"""

from __future__ import annotations

from typing import NamedTuple


class Layout(NamedTuple):
    """An image in HTML, whose alt is "A dog", and what names its picture."""

    html: str
    url: str  # of the picture, as it stands in the page or relative to URL
    attribute: str  # that names the picture
    source: str  # address of the documentation or of the code that shows the layout; "": seen on sites, or made up


URL = "http://a.test/d/page.html"
GIF = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
SVG = "data:image/svg+xml,%3Csvg%20xmlns='http://www.w3.org/2000/svg'%20viewBox='0%200%203%202'%3E%3C/svg%3E"
SVG_QUOTED = SVG.replace("'", "%22")
CLOUDINARY = "https://res.cloudinary.com/x/image/upload/c_scale,w_auto/dpr_auto/dog.jpg"
GITHUB = "https://github.com"
SQUARESPACE = "https://static1.squarespace.com/static/5a/t/5b/146/dog.jpg"
WIX = "https://static.wixstatic.com/media/11_ab~mv2.jpg"

SYSTEMS: dict[str, Layout] = {
    "WordPress": Layout(
        "<img src='/u/dog-1024x683.jpg' alt='A dog' class='wp-image-7' srcset='/u/dog-1024x683.jpg 1024w, "
        "/u/dog-300x200.jpg 300w' sizes='(max-width: 1024px) 100vw, 1024px' loading=lazy decoding=async>",
        "/u/dog-1024x683.jpg",
        "src",
        "https://developer.wordpress.org/reference/functions/wp_make_content_images_responsive/",
    ),
    "Shopify": Layout(
        "<img class='slideshow__image lazyload' src='//cdn.test/p/dog_300x.jpg?v=1' "
        "data-src='//cdn.test/p/dog_{width}x.jpg?v=1' data-widths='[540, 720, 900, 1080, 1296, 1512, 1728, 1944, 2048]'"
        " data-aspectratio='1.5' data-sizes=auto data-parent-fit=cover alt='A dog'>",
        "http://cdn.test/p/dog_2048x.jpg?v=1",
        "data-src",
        "https://gist.github.com/shopifypartners/924c78d3303cd90b0a7671f94d65f51c",
    ),
    "Shopify, widths beyond any use": Layout(
        "<img class=lazyload data-src='//cdn.test/p/dog_{width}x.jpg' data-widths='[540, 2048, 4472]' alt='A dog'>",
        "http://cdn.test/p/dog_2048x.jpg",
        "data-src",
        "",
    ),
    "Shopify, without widths": Layout(
        "<img class='lazyload' src='//cdn.test/p/dog_300x.jpg?v=1' data-src='//cdn.test/p/dog_{width}x.jpg?v=1' "
        "data-aspectratio='1.5' data-sizes=auto alt='A dog'>",
        "http://cdn.test/p/dog_1944x.jpg?v=1",
        "data-src",
        "",
    ),
    "Shopify, by width and height": Layout(
        "<img class=lazyload src='//cdn.test/p/dog_10x10.jpg?v=1' data-src='//cdn.test/p/dog_{width}x{height}.jpg?v=1'"
        " data-widths='[540, 900]' data-aspectratio='1.5' data-sizes=auto alt='A dog'>",
        "http://cdn.test/p/dog_900x600.jpg?v=1",
        "data-src",
        "",
    ),
    "Shopify, a height that nobody knows": Layout(
        "<img class='lazyload' src='//cdn.test/p/dog_300x.jpg' data-src='//cdn.test/p/dog_{width}x{height}.jpg' "
        "data-sizes=auto alt='A dog'>",
        "http://cdn.test/p/dog_300x.jpg",
        "src",
        "",
    ),
    "Squarespace": Layout(
        f"<img class='thumb-image' data-src='{SQUARESPACE}' data-image='{SQUARESPACE}' data-image-dimensions=1500x1000 "
        "data-image-focal-point='0.5,0.5' data-load=false alt='A dog'>",
        SQUARESPACE,
        "data-src",
        "https://developers.squarespace.com/image-loader",
    ),
    "Squarespace, without a name": Layout(
        "<img class='thumb-image' data-src='https://static1.squarespace.com/static/5a/t/5b/146/' data-image="
        "'https://static1.squarespace.com/static/5a/t/5b/146/' data-image-dimensions=1500x1000 data-load=false "
        "alt='A dog'>",
        "https://static1.squarespace.com/static/5a/t/5b/146/",
        "data-src",
        "https://developers.squarespace.com/image-loader",
    ),
    "Squarespace, with a copy": Layout(
        f"<noscript><img src='{SQUARESPACE}' alt='A dog'></noscript><img class=thumb-image data-src='{SQUARESPACE}' "
        f"data-image='{SQUARESPACE}' data-image-dimensions=2500x1667 data-image-focal-point='0.5,0.5' data-load=false "
        "data-type=image alt='A dog'>",
        SQUARESPACE,
        "src",
        "",
    ),
    "Medium": Layout(
        "<figure><div><img src='https://miro.medium.com/max/60/1*a_b.jpeg?q=20' alt='A dog'></div>"
        "<noscript><img alt='A dog' src='https://miro.medium.com/max/2000/1*a_b.jpeg'></noscript></figure>",
        "https://miro.medium.com/max/2000/1*a_b.jpeg",
        "noscript src",
        "",
    ),
    "Wix": Layout(
        "<wow-image data-image-info='{\"imageData\":{\"uri\":\"11_ab~mv2.jpg\"}}'>"
        f"<img src='{WIX}/v1/fill/w_147,h_98,al_c,q_80,usm_0.66_1.00_0.01,blur_2,enc_auto/dog.jpg' alt='A dog'>",
        WIX,
        "src",
        "",
    ),
    "Drupal's Blazy": Layout(
        f"<div class='media media--blazy'><img alt='A dog' decoding=async class='media__element b-lazy' "
        f"data-src='/sites/default/files/styles/large/dog.jpg?itok=x' src='{SVG_QUOTED}'></div>",
        "/sites/default/files/styles/large/dog.jpg?itok=x",
        "data-src",
        "",
    ),
    "Magento": Layout(
        "<span class=product-image-container style='width:240px'><span class=product-image-wrapper "
        "style='padding-bottom: 125%'><img class=product-image-photo src='/media/catalog/product/cache/1/d/o/dog.jpg' "
        "width=240 height=300 alt='A dog'/></span></span>",
        "/media/catalog/product/cache/1/d/o/dog.jpg",
        "src",
        f"{GITHUB}/magento/magento2/blob/0284bcda3d18/app/code/Magento/Catalog/view/frontend/templates/product/"
        "image_with_borders.phtml",
    ),
    "Magento's swatches": Layout(
        "<img class=product-image-photo src='/media/dog.jpg' data-hover='/media/dog-back.jpg' alt='A dog' "
        "data-zoom-image='/media/dog-large.jpg' data-alt-src='/media/dog-2.jpg'>",
        "/media/dog.jpg",
        "src",
        "",
    ),
    "PrestaShop": Layout(
        "<a href='/7-dog.html' class='thumbnail product-thumbnail'><img src='/12-home_default/dog.jpg' alt='A dog' "
        "loading=lazy data-full-size-image-url='/12-large_default/dog.jpg' /></a>",
        "/12-home_default/dog.jpg",
        "src",
        f"{GITHUB}/PrestaShop/PrestaShop/blob/032824e9aeac/themes/classic/templates/catalog/"
        "_partials/miniatures/product.tpl",
    ),
    "Adobe Experience Manager": Layout(
        "<div data-cmp-is=image data-cmp-lazy data-cmp-src='/content/dog.coreimg{.width}.jpeg/155/dog.jpeg' "
        "data-cmp-widths='320,1200' class=cmp-image><noscript data-cmp-hook-image=noscript><img alt='A dog' "
        "src='/content/dog.coreimg.jpeg/155/dog.jpeg' class=cmp-image__image data-cmp-hook-image=image></noscript>"
        "</div>",
        "/content/dog.coreimg.jpeg/155/dog.jpeg",
        "src",
        f"{GITHUB}/adobe/aem-core-wcm-components/blob/0228eecdebc0/content/src/content/jcr_root/apps/core/wcm/"
        "components/image/v2/image/README.md",
    ),
    "GitLab": Layout(
        f"<a class=no-attachment-icon href='/u/dog.jpg'><img src='{GIF}' alt='A dog' decoding=async class=lazy "
        "data-src='/u/dog.jpg'></a>",
        "/u/dog.jpg",
        "data-src",
        "https://rdoc.info/github/gitlabhq/gitlabhq/Banzai/Filter/ImageLazyLoadFilter",
    ),
    "Next.js": Layout(
        f"<span><img alt='A dog' src='{GIF}' decoding=async data-nimg=fill><noscript><img alt='A dog' loading=lazy "
        "decoding=async data-nimg=fill sizes=100vw srcSet='/_next/image?url=%2Fdog.jpg&amp;w=640&amp;q=75 640w, "
        "/_next/image?url=%2Fdog.jpg&amp;w=3840&amp;q=75 3840w' src='/_next/image?url=%2Fdog.jpg&amp;w=3840&amp;q=75'>"
        "</noscript></span>",
        "/_next/image?url=%2Fdog.jpg&w=3840&q=75",
        "noscript src",
        f"{GITHUB}/vercel/next.js/blob/016c20990b9b/packages/next/src/client/legacy/image.tsx",
    ),
    "Next.js 10": Layout(
        "<div><div><img alt='' aria-hidden=true role=presentation src='data:image/svg+xml;base64,PHN2Zy8+'></div>"
        "<noscript><img alt='A dog' srcSet='/_next/image?url=%2Fdog.jpg&amp;w=640&amp;q=75 1x, "
        "/_next/image?url=%2Fdog.jpg&amp;w=1200&amp;q=75 2x' src='/dog.jpg' decoding=async></noscript>"
        f"<img alt='A dog' src='{GIF}' decoding=async></div>",
        "/dog.jpg",
        "src",
        f"{GITHUB}/vercel/next.js/blob/00f6a3941934/packages/next/client/image.tsx",
    ),
    "Gatsby": Layout(
        "<div class=gatsby-image-wrapper><img class=placeholder src='data:image/jpeg;base64,/9j/4AAQ' alt=''>"
        "<noscript><picture><source type='image/webp' srcSet='/static/1/dog.webp 800w' sizes='(max-width: 800px) 100vw,"
        " 800px' /><source srcSet='/static/2/dog.jpg 800w' sizes='(max-width: 800px) 100vw, 800px' />"
        "<img src='/static/2/dog.jpg' alt='A dog'/></picture></noscript></div>",
        "/static/2/dog.jpg",
        "src",
        f"{GITHUB}/gatsbyjs/gatsby/blob/0b64f135f295/packages/gatsby-image/src/__tests__/__snapshots__/index.js.snap",
    ),
    "Gatsby 3": Layout(
        "<div data-gatsby-image-wrapper='' class=gatsby-image-wrapper><div aria-hidden=true data-placeholder-image=''>"
        "</div><picture><source type='image/webp' data-srcset='/static/1/dog.webp 800w' sizes=100vw>"
        "<img alt='A dog' data-gatsby-image-ssr='' data-main-image='' data-src='/static/2/dog.jpg' "
        "data-srcset='/static/2/dog.jpg 800w' decoding=async loading=lazy sizes=100vw style='opacity: 0;'></picture>"
        "<noscript><picture><source type='image/webp' srcset='/static/1/dog.webp 800w' sizes=100vw><img alt='A dog' "
        "src='/static/2/dog.jpg' srcset='/static/2/dog.jpg 800w' sizes=100vw></picture></noscript></div>",
        "/static/2/dog.jpg",
        "data-src",
        f"{GITHUB}/gatsbyjs/gatsby/blob/0aef79bee7ab/packages/gatsby-plugin-image/src/components/__tests__/"
        "gatsby-image.server.tsx",
    ),
    "Nuxt": Layout(
        "<img width=300 height=400 data-nuxt-img='' srcset='/_ipx/s_300x400/dog.jpg 1x, /_ipx/s_600x800/dog.jpg 2x' "
        "src='/_ipx/s_300x400/dog.jpg' alt='A dog'>",
        "/_ipx/s_300x400/dog.jpg",
        "src",
        f"{GITHUB}/nuxt/image/blob/018f2b8d04b6/test/nuxt/image.test.ts",
    ),
    "Ghost": Layout(
        "<figure class='kg-card kg-image-card'><img src='/content/images/2024/01/dog.jpg' class=kg-image alt='A dog' "
        "loading=lazy width=3000 height=2000 srcset='/content/images/size/w600/2024/01/dog.jpg 600w, "
        "/content/images/size/w2400/2024/01/dog.jpg 2400w'></figure>",
        "/content/images/2024/01/dog.jpg",
        "src",
        f"{GITHUB}/TryGhost/Koenig/blob/b78b0bbed4d8/packages/kg-default-cards/test/cards/image.test.js",
    ),
    "AMP": Layout(
        "<amp-img alt='A dog' width=550 height=368 src='/dog.jpg'><amp-img alt='A dog' fallback width=550 height=368 "
        "src='data:image/svg+xml;base64,PHN2Zy8+'></amp-img></amp-img>",
        "/dog.jpg",
        "src",
        f"{GITHUB}/ampproject/amphtml/blob/0d06838fbc72/src/builtins/amp-img/amp-img.md",
    ),
    "AMP, with a copy": Layout(
        "<amp-img src='/dog.jpg' srcset='/dog.jpg 900w, /dog-s.jpg 300w' width=9 height=6 alt='A dog'>"
        "<noscript><img src='/dog.jpg' alt='A dog'></noscript></amp-img>",
        "/dog.jpg",
        "src",
        "",
    ),
    "AMP, animated": Layout(
        "<amp-anim width=400 height=300 src='/dog.gif' alt='A dog'><amp-img placeholder width=400 height=300 "
        "src='/dog-screencap.jpg'></amp-img></amp-anim>",
        "/dog.gif",
        "src",
        f"{GITHUB}/ampproject/amphtml/blob/04b9222dfba7/extensions/amp-anim/amp-anim.md",
    ),
    "Cloudinary": Layout(
        f"<img data-src='{CLOUDINARY}' class=cld-responsive alt='A dog'>",
        CLOUDINARY,
        "data-src",
        "https://cloudinary.com/documentation/responsive_client_side_js",
    ),
    "imgix": Layout(
        "<img ix-src='https://x.imgix.net/dog.jpg?w=300&amp;h=500&amp;fit=crop&amp;crop=right' alt='A dog' "
        "sizes=100vw>",
        "https://x.imgix.net/dog.jpg?w=300&h=500&fit=crop&crop=right",
        "ix-src",
        f"{GITHUB}/imgix/imgix.js#readme",
    ),
    "Cloudimage": Layout(
        "<img ci-src='https://x.cloudimg.io/v7/u/dog.jpg' ci-ratio=1.5 alt='A dog'>",
        "https://x.cloudimg.io/v7/u/dog.jpg",
        "ci-src",
        "https://scaleflex.github.io/js-cloudimage-responsive",
    ),
    "Mobify": Layout(
        "<img x-src='/u/dog.jpg' alt='A dog'>",
        "/u/dog.jpg",
        "x-src",
        f"{GITHUB}/mobify/mobifyjs/blob/1c8e90fb3d35/tests/capture-tests.js",
    ),
    "Cloudflare Mirage": Layout(
        "<img data-cfsrc='/u/dog.jpg' alt='A dog' style='display:none;visibility:hidden'>"
        "<noscript><img src='/u/dog.jpg' alt='A dog'></noscript>",
        "/u/dog.jpg",
        "data-cfsrc",
        "",
    ),
    "PageSpeed": Layout(
        "<img data-pagespeed-lazy-src='dog.jpg.pagespeed.ic.x.jpg' alt='A dog' "
        "data-pagespeed-lazy-srcset='dog-2x.jpg 2x' src='/pagespeed_static/1.JiBnMqyl6S.gif' "
        "onload='pagespeed.lazyLoadImages.loadIfVisibleAndMaybeBeacon(this);' "
        "onerror='this.onerror=null;pagespeed.lazyLoadImages.loadIfVisibleAndMaybeBeacon(this);'>",
        "dog.jpg.pagespeed.ic.x.jpg",
        "data-pagespeed-lazy-src",
        f"{GITHUB}/apache/incubator-pagespeed-mod/blob/2e3af1d3e187/net/instaweb/rewriter/lazyload_images_filter.cc",
    ),
    "PageSpeed, with a preview": Layout(
        "<img data-pagespeed-high-res-src='dog.jpg' src='data:image/jpeg;base64,/9j/4AAQ' alt='A dog' "
        "onload='pagespeed.switchToHighResAndMaybeBeacon(this);'>",
        "dog.jpg",
        "data-pagespeed-high-res-src",
        "https://developers.google.com/speed/pagespeed/module/filter-inline-preview-images",
    ),
    "Ezoic": Layout(
        f"<img src='{GIF}' data-ezsrc='/u/dog.jpg' ezimgfmt='rs' alt='A dog'>", "/u/dog.jpg", "data-ezsrc", ""
    ),
    "MediaWiki": Layout(
        "<a href='/wiki/File:Dog.jpg' class=mw-file-description><img alt='A dog' src='/thumb/Dog.jpg/220px-Dog.jpg' "
        "decoding=async loading=lazy width=220 height=165 class=mw-file-element "
        "srcset='/thumb/Dog.jpg/330px-Dog.jpg 1.5x, /thumb/Dog.jpg/440px-Dog.jpg 2x'></a>",
        "/thumb/Dog.jpg/220px-Dog.jpg",
        "src",
        f"{GITHUB}/wikimedia/mediawiki/blob/00ec7c22994a/includes/media/ThumbnailImage.php",
    ),
    "MediaWiki's mobile view": Layout(
        "<noscript><img alt='A dog' src='/thumb/Dog.jpg/220px-Dog.jpg' width=220 height=165></noscript><span "
        "class=lazy-image-placeholder style='width: 220px;height: 165px;' data-mw-src='/thumb/Dog.jpg/220px-Dog.jpg' "
        "data-alt='A dog' data-width=220 data-height=165 data-mw-srcset='/thumb/Dog.jpg/440px-Dog.jpg 2x'>&nbsp;"
        "</span>",
        "/thumb/Dog.jpg/220px-Dog.jpg",
        "src",
        f"{GITHUB}/wikimedia/mediawiki-extensions-MobileFrontend/blob/2152863a3c52/includes/Transforms/"
        "LazyImageTransform.php",
    ),
    "Discuz": Layout(
        "<img id=aimg_7 aid=7 src='static/image/common/none.gif' onclick=\"zoom(this, this.getAttribute('zoomfile'), 0,"
        " 0, '1')\" zoomfile='data/dog.jpg' file='data/dog.jpg.thumb.jpg' alt='A dog' title='A dog' w=900 />",
        "data/dog.jpg",
        "zoomfile",
        f"{GITHUB}/Discuz-X/DiscuzX/blob/75d242dfe9d8/template/default/forum/discuzcode.htm",
    ),
    "Discuz, by its own page": Layout(
        "<img id=aimg_7 aid=7 src='static/image/common/none.gif' zoomfile='forum.php?mod=attachment&amp;aid=Nw&amp;"
        "noupdate=yes&amp;nothumb=yes' file='forum.php?mod=attachment&amp;aid=Nw&amp;noupdate=yes' alt='A dog' w=900>",
        "forum.php?mod=attachment&aid=Nw&noupdate=yes&nothumb=yes",
        "zoomfile",
        f"{GITHUB}/Discuz-X/DiscuzX/blob/75d242dfe9d8/template/default/forum/discuzcode.htm",
    ),
    "IMDb": Layout("<img src='/i/nopicture.png' loadlate='/u/dog.jpg' alt='A dog'>", "/u/dog.jpg", "loadlate", ""),
    "WeChat": Layout(
        "<img data-src='https://mmbiz.test/mmbiz_jpg/abc/640?wx_fmt=jpeg' data-ratio='0.66' alt='A dog'>",
        "https://mmbiz.test/mmbiz_jpg/abc/640?wx_fmt=jpeg",
        "data-src",
        "",
    ),
    "sizes in JSON": Layout(
        f"<img src='{GIF}' data-sources='{{\"640\": \"/u/dog-640.jpg\", \"1280\": \"/u/dog-1280.jpg\"}}' alt='A dog'>",
        "/u/dog-1280.jpg",
        "data-sources",
        "",
    ),
    "JSON with widths": Layout(
        "<img data-media='[{\"url\":\"/u/s.jpg\",\"width\":100},{\"url\":\"/u/l.jpg\",\"width\":900}]' alt='A dog'>",
        "/u/l.jpg",
        "data-media",
        "",
    ),
    "a set under another name": Layout(
        f"<img src='{GIF}' data-variants='/u/s.jpg 100w, /u/l.jpg 900w' alt='A dog'>", "/u/l.jpg", "data-variants", ""
    ),
    "a link to the page": Layout(
        "<img src='/u/dog.jpg' data-url='/dogs/' data-lazy=true data-src='/dogs/1.html' alt='A dog'>",
        "/u/dog.jpg",
        "src",
        "",
    ),
}  # fmt: skip
