"""Pages in many languages, in the encodings that were used for them before UTF-8. The sentences are our own."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple


class Language(NamedTuple):
    """What its undeclared pages look like."""

    domain: str  # top-level
    codecs: str  # Python's, of which windows-1252 is the West
    title: str
    captions: tuple[str, str, str]


LANGUAGES = {
    "ru": Language(
        "ru",
        "cp1251 koi8-r iso8859-5 cp866",
        "Старый маяк на берегу моря",
        (
            "Рыжая кошка спит на подоконнике рядом с цветами.",
            "Вид на город с высокой башни в ясный зимний день.",
            "Дети играют в футбол на школьном дворе после уроков.",
        ),
    ),
    "uk": Language(
        "ua",
        "cp1251 koi8-u",
        "Вечірнє місто над рікою",
        (
            "Білий кінь стоїть на зеленому лузі біля лісу.",
            "Діти їдять яблука в саду бабусі.",
            "Гарний краєвид із вершини гори влітку.",
        ),
    ),
    "bg": Language(
        "bg",
        "cp1251",
        "Къща в планината през есента",
        (
            "Малко куче тича по плажа край морето.",
            "Старата църква в центъра на града.",
            "Жена продава цветя на пазара.",
        ),
    ),
    "ja": Language(
        "jp",
        "cp932 euc_jp iso2022_jp",
        "公園で遊ぶ子犬の写真",
        (
            "赤い傘をさした女の人が駅の前に立っています。",
            "富士山と湖の景色はとても美しいです。",
            "カレーライスの作り方を写真で紹介します。",
        ),
    ),
    "zh": Language(
        "cn",
        "gb18030",
        "海边的红色灯塔照片",
        ("一只白猫坐在窗台上看着外面的花园。", "孩子们在公园里放风筝，天空很蓝。", "这张照片拍摄于去年秋天的北京。"),
    ),
    "zh-Hant": Language(
        "tw",
        "big5hkscs",
        "海邊的紅色燈塔照片",
        ("一隻白貓坐在窗台上看著外面的花園。", "孩子們在公園裡放風箏，天空很藍。", "這張照片拍攝於去年秋天的臺北。"),
    ),
    "ko": Language(
        "kr",
        "cp949",
        "바닷가의 빨간 등대 사진",
        (
            "하얀 고양이가 창가에 앉아 정원을 보고 있습니다.",
            "아이들이 공원에서 연을 날리고 있어요.",
            "작년 가을 서울에서 찍은 사진입니다.",
        ),
    ),
    "pl": Language(
        "pl",
        "cp1250 iso8859-2",
        "Żółta łódź na brzegu jeziora",
        (
            "Mały pies śpi na czerwonej poduszce obok okna.",
            "Widok na góry o świcie, zdjęcie zrobione jesienią.",
            "Dzieci bawią się w śniegu przed szkołą, a kot patrzy przez szybę.",
        ),
    ),
    "cs": Language(
        "cz",
        "cp1250 iso8859-2",
        "Starý hrad nad řekou při západu slunce",
        (
            "Žlutý dům s červenou střechou uprostřed vesnice.",
            "Děti si hrají na zahradě za naším domem.",
            "Kočka leží na měkkém polštáři u okna.",
        ),
    ),
    "hu": Language(
        "hu",
        "cp1250 iso8859-2",
        "Régi híd a folyó fölött",
        (
            "A kisfiú egy piros bőrönddel áll a pályaudvaron.",
            "Szép őszi táj a hegyekben, hűvös reggelen.",
            "Két macska ül az ablakban és kifelé néz.",
        ),
    ),
    "ro": Language(
        "ro",
        "cp1250 iso8859-2",
        "Biserică veche în munţi",
        (
            "Un câine mic aleargă pe plajă lângă mare.",
            "Copiii se joacă în grădină după şcoală.",
            "Casă ţărănească cu flori roşii la fereastră.",
        ),
    ),
    "sk": Language(
        "sk",
        "cp1250 iso8859-2",
        "Stará chalupa pod Tatrami",
        ("Čierny pes leží pri krbe a spí.", "Ľudia sa prechádzajú po námestí večer.", "Dievča kŕmi kačice pri jazere."),
    ),
    "hr": Language(
        "hr",
        "cp1250 iso8859-2",
        "Stara kuća uz more",
        (
            "Žena čita knjigu na plaži ispod suncobrana.",
            "Mačka spava na krovu šarene kuće.",
            "Djeca se igraju u parku poslije škole.",
        ),
    ),
    "el": Language(
        "gr",
        "cp1253 iso8859-7",
        "Παλιό λιμάνι στο νησί",
        (
            "Μια άσπρη γάτα κάθεται στο παράθυρο του σπιτιού.",
            "Τα παιδιά παίζουν στην παραλία το καλοκαίρι.",
            "Θέα της πόλης από το κάστρο.",
        ),
    ),
    "tr": Language(
        "tr",
        "cp1254",
        "Deniz kıyısında eski bir ev",
        (
            "Küçük kız kırmızı şemsiyesiyle yağmurda yürüyor.",
            "Kapalıçarşı'da ışıklı dükkânlar ve halı satıcıları.",
            "Bahçede oynayan çocukların güzel fotoğrafı.",
        ),
    ),
    "he": Language(
        "il",
        "cp1255 iso8859-8",
        "מגדלור ישן על חוף הים",
        ("חתול לבן יושב על אדן החלון ומביט בגינה.", "ילדים משחקים בפארק אחרי בית הספר.", "נוף העיר מהמגדל הגבוה."),
    ),
    "ar": Language(
        "eg",
        "cp1256 iso8859-6",
        "منارة قديمة على شاطئ البحر",
        (
            "قطة بيضاء تجلس قرب النافذة وتنظر إلى الحديقة.",
            "الأطفال يلعبون في الحديقة بعد المدرسة.",
            "منظر المدينة من البرج العالي.",
        ),
    ),
    "fa": Language(
        "ir",
        "cp1256",
        "خانه قديمي کنار دريا",
        ("گربه سفيد کنار پنجره نشسته است.", "بچه ها در پارک بازي مي کنند.", "منظره شهر از بالاي برج."),
    ),
    "th": Language(
        "th",
        "cp874",
        "ประภาคารเก่าริมทะเล",
        ("แมวสีขาวนั่งอยู่ที่หน้าต่างมองดูสวน", "เด็กๆ เล่นว่าวในสวนสาธารณะ", "ภาพถ่ายเมืองจากหอคอยสูง"),
    ),
    "lt": Language(
        "lt",
        "cp1257 iso8859-13",
        "Senas švyturys prie jūros",
        (
            "Balta katė sėdi ant palangės ir žiūri į sodą.",
            "Vaikai žaidžia kieme po pamokų.",
            "Gražus miesto vaizdas iš aukšto bokšto.",
        ),
    ),
    "lv": Language(
        "lv",
        "cp1257 iso8859-13",
        "Veca bāka jūras krastā",
        (
            "Balts kaķis sēž uz palodzes un skatās dārzā.",
            "Bērni spēlējas parkā pēc skolas.",
            "Skaists skats uz pilsētu no augstā torņa.",
        ),
    ),
    "vi": Language(
        "vn",
        "cp1258",
        "Ngọn hải đăng cũ bên bờ biển",
        (
            "Con mèo trắng ngồi bên cửa sổ nhìn ra vườn.",
            "Trẻ em thả diều trong công viên.",
            "Ảnh chụp thành phố từ tháp cao.",
        ),
    ),
    "fr": Language(
        "fr",
        "cp1252",
        "Vieux phare au bord de la mer, été",
        (
            "Le chat noir dort près de la fenêtre fermée.",
            "Une élève à l’école de la forêt, très fière.",
            "Château de pierre où l’on mange des crêpes.",
        ),
    ),
    "de": Language(
        "de",
        "cp1252",
        "Alter Leuchtturm an der Küste",
        (
            "Ein kleiner Hund läuft über die grüne Wiese.",
            "Die Straße führt an schönen Häusern vorbei.",
            "Käse, Brötchen und Äpfel auf dem Frühstückstisch.",
        ),
    ),
    "es": Language(
        "es",
        "cp1252",
        "Niña con un paraguas rojo en la montaña",
        (
            "El perro está jugando en el jardín.",
            "Una vista del pueblo desde la colina, al amanecer de otoño.",
            "¿Dónde está la señora del sombrero?",
        ),
    ),
    "pt": Language(
        "br",
        "cp1252",
        "Coração de São Paulo à noite",
        (
            "Uma criança brinca na praia com o cão.",
            "Igreja antiga no centro histórico, construção do século XVIII.",
            "Pão de açúcar visto do avião.",
        ),
    ),
    "sv": Language(
        "se",
        "cp1252",
        "Röd stuga vid sjön på våren",
        (
            "En liten flicka åker skidor på fjället.",
            "Älgen står i skogen bredvid vägen.",
            "Båtar i hamnen en solig dag.",
        ),
    ),
    "da": Language(
        "dk",
        "cp1252",
        "Gammelt fyrtårn ved kysten",
        ("En lille dreng løber på græsset.", "Rødgrød med fløde på et blåt bord.", "Skønne huse i Nyhavn, København."),
    ),
    "no": Language(
        "no",
        "cp1252",
        "Gammelt fyr på kysten",
        ("En liten jente går på ski i fjellet.", "Røde hus ved sjøen på en sommerdag.", "Båter i havna i Tromsø."),
    ),
    "fi": Language(
        "fi",
        "cp1252",
        "Vanha majakka meren äärellä",
        (
            "Pieni tyttö leikkii pihalla koiran kanssa.",
            "Kissa nukkuu pöydällä ikkunan vieressä.",
            "Järven rannalla on punainen mökki.",
        ),
    ),
    "is": Language(
        "is",
        "cp1252",
        "Gamall viti við sjóinn",
        (
            "Lítil stúlka leikur sér í garðinum.",
            "Hesturinn stendur á grænu túni við fjallið.",
            "Það er fallegt útsýni yfir bæinn.",
        ),
    ),
    "it": Language(
        "it",
        "cp1252",
        "La città è bella di notte",
        (
            "Un cane corre sulla spiaggia perché è felice.",
            "Il caffè più buono della città.",
            "La libertà dei gabbiani sul mare.",
        ),
    ),
    "nl": Language(
        "nl",
        "cp1252",
        "Oude vuurtoren aan zee, één zomer",
        (
            "De kinderen spelen buiten met een coördinaat.",
            "Een café in België met veel ideeën.",
            "Zeeën en oceanen: een kleine impressie.",
        ),
    ),
    "ca": Language(
        "es",
        "cp1252",
        "Far vell a la costa, l’estiu",
        (
            "El gos negre dorm a la cuina de l’àvia.",
            "Una nena juga al pati de l’escola amb il·lusió.",
            "Plaça del poble amb cafè i pastís.",
        ),
    ),
    "en": Language(
        "com",
        "cp1252",
        "A “quoted” caption – with dashes",
        (
            "It’s a dog’s life: a brown dog on the lawn.",
            "The café at the corner costs £5 – naïve, isn’t it?",
            "Temperature: 25° and © 2004 John’s photos.",
        ),
    ),
    "en-quotes": Language(
        "com",
        "cp1252",
        "The “Tower” of London",
        ("A black dog says “hello” to the world.", "Mr. Smith said “no” again.", "Nothing else here."),
    ),
}

_PAGE = """<!DOCTYPE html>
<html><head><title>{title}</title>
<link rel="stylesheet" href="/css/style.css" type="text/css"><script src="/js/gallery.js"></script>
<style>body {{ margin: 0; font-family: Arial }} .nav li {{ float: left }}</style></head>
<body class="home"><ul class="nav"><li><a href="/index.html">Home</a></li><li><a href="/l?id=3">All</a></li></ul>
<div id="main">
{body}
</div><div id="footer">Powered by Gallery 3.2</div></body></html>
"""
_ITEM = '<a href="/p/{n}.html"><img src="/images/photo_{n}.jpg" width="300" height="200" alt="{text}"></a><p>{text}</p>'


def page(title: str, captions: tuple[str, ...]) -> str:
    return _PAGE.format(title=title, body="\n".join(_ITEM.format(n=n, text=text) for n, text in enumerate(captions)))


def pages(language: Language) -> Iterator[str]:
    """Of several lengths: a title alone, each caption alone, all of them, each twelve times."""
    yield page(language.title, ())
    for caption in language.captions:
        yield page("Photo", (caption,))
    yield page(language.title, language.captions)
    yield page(language.title, language.captions * 12)


def encoded(text: str, codec: str) -> bytes:
    """As an editor writes it: what the encoding lacks as references, tones of Vietnamese as marks of their own."""
    if codec == "cp1258":
        text = "".join(map(_vietnamese, unicodedata.normalize("NFC", text)))
    return text.encode(codec, "xmlcharrefreplace")


def _vietnamese(character: str) -> str:
    try:
        character.encode("cp1258")
    except UnicodeEncodeError:
        apart = unicodedata.normalize("NFD", character)
        return _vietnamese(unicodedata.normalize("NFC", apart[:-1])) + apart[-1]
    return character
