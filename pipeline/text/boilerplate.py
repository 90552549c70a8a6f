"""Phrases that stand in alt attributes whatever the picture shows: found alone, they describe nothing.

Separated by commas, in lower case, without digits and punctuation ("photo" stands for "Photo #12:").
"""

ENGLISH = """
image, images, img, photo, photos, photograph, picture, pictures, pic, graphic, illustration, figure,
fig, see caption, logo, site logo, company logo, website logo, header logo, footer logo, logo image,
brand logo, icon, icons, banner, header, header image, background, background image, bg, thumbnail,
thumb, thumbnail image, preview, preview image, placeholder, placeholder image, image placeholder,
default, default image, no image, no photo, no image available, image not available, image not found,
no picture, coming soon, image coming soon, photo coming soon, alt, alt text, alternative text,
image alt, image alt text, image description, image title, untitled, unnamed, featured image, post image,
blog image, blog post image, article image, main image, product image, product photo, gallery image,
gallery photo, hero image, cover, cover image, cover photo, lead image, story image, news image,
event image, slide, slide image, slider, slider image, slideshow, profile picture, profile photo,
profile image, profile pic, user avatar, avatar, user image, user photo, author image, author photo,
click here, click here to enlarge, click to enlarge, click image to enlarge, click for larger image,
click to view, click to zoom, enlarge, enlarge image, zoom, view larger image, view larger,
view full size, view image, view photo, open image, larger image, read more, learn more, more, more info,
details, view more, see more, show more, continue reading, back to top, go to top, homepage, home page,
back, next, previous, prev, arrow, left arrow, right arrow, arrow left, arrow right, down arrow, close,
menu, search, search icon, menu icon, close icon, share, share this, share on facebook, share on twitter,
follow us, facebook, twitter, instagram, pinterest, youtube, linkedin, whatsapp, rss, email, print,
facebook icon, twitter icon, advertisement, advert, ad, ads, sponsored, loading, please wait, loader,
spinner, spacer, blank, pixel, transparent, tracking pixel, divider, separator, star rating, play button,
play video, watch video, video thumbnail, screenshot, screen shot, download, attachment, attached image,
uploaded image, pdf, image file, image may contain, no photo description available, stock photo,
stock image, free image, sample image, test image, lorem ipsum, undefined, null, none, nan, na, n a,
captcha, reply, add to cart, buy now, shop now, sold out, out of stock, image of, picture of, photo of,
this image, this is an image, a picture, an image, a photo, subscribe, page, page of, item, id, no, sku, ref
"""

OTHERS = """
bild, bilder, foto, fotos, abbildung, grafik, symbolbild, titelbild, vorschaubild, beitragsbild,
produktbild, kein bild, kein bild vorhanden, kein bild verfügbar, hier klicken, weiterlesen,
mehr erfahren, bild vergrößern, startseite, werbung, anzeige, cliquez ici, cliquez pour agrandir,
agrandir, agrandir l image, lire la suite, en savoir plus, pas d image, photo de profil,
image par défaut, accueil, publicité, aucune image, imagen, imágenes, imagen destacada, haga clic aquí,
haz clic aquí, leer más, sin imagen, ampliar imagen, foto de perfil, logotipo, inicio, publicidad,
imagem, imagens, clique aqui, clique para ampliar, leia mais, saiba mais, sem imagem, imagem destacada,
immagine, immagini, clicca qui, leggi tutto, ingrandisci, nessuna immagine, afbeelding, klik hier,
lees meer, geen afbeelding, zdjęcie, zdjęcia, obrazek, kliknij tutaj, czytaj więcej, brak zdjęcia, resim,
fotoğraf, görsel, buraya tıklayın, devamını oku, gambar, klik di sini, hình ảnh, ảnh, изображение,
изображения, фото, фотография, картинка, логотип, нажмите здесь, подробнее, читать далее, нет фото,
нет изображения, зображення, фотографія, صورة, شعار, اضغط هنا, تصویر, תמונה, לוגו, चित्र, फोटो, छवि,
รูปภาพ, ภาพ, โลโก้, 图片, 圖片, 照片, 相片, 图像, 圖像, 图, 配图, 插图, 点击查看, 点击放大, 点击查看大图,
暂无图片, 无图片, 头像, 标志, 广告, 首页, 画像, 写真, イメージ, イメージ画像, ロゴ, アイコン,
アイキャッチ, アイキャッチ画像, サムネイル, クリックで拡大, 拡大, 画像なし, 詳細はこちら, 広告, 이미지,
사진, 로고, 아이콘, 썸네일, 자세히 보기, 이미지 없음, 광고
"""
