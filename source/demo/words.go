package demo

// site is what the wikis differ in. In summaries $1 stands for a page, $2 for a user and $3 for a revision; in titles $a
// and $b for a first and a second part, $n for a number and $y for a year; in the texts of categorize $1 for a link.
type site struct {
	id, server string
	weight     int // how often it changes, beside the others
	bots       int // percent of its edits
	anonymous  int // percent of its edits
	patrol     bool
	patrolNew  bool
	words
}

type words struct {
	category, talk, userNamespace, userTalk string
	added, removed                          string
	titles, first, second                   []string
	users, sections, summaries, creations   []string
	categories                              []string
}

var sites = []site{
	{"wikidatawiki", "www.wikidata.org", 30, 55, 2, true, false, data},
	{"commonswiki", "commons.wikimedia.org", 20, 35, 3, true, false, media},
	{"enwiki", "en.wikipedia.org", 17, 9, 22, false, true, english},
	{"frwiki", "fr.wikipedia.org", 6, 8, 15, true, false, french},
	{"dewiki", "de.wikipedia.org", 6, 4, 18, false, false, german},
	{"eswiki", "es.wikipedia.org", 5, 8, 28, true, false, spanish},
	{"ruwiki", "ru.wikipedia.org", 5, 10, 16, false, true, russian},
	{"jawiki", "ja.wikipedia.org", 4, 5, 35, true, false, japanese},
	{"arwiki", "ar.wikipedia.org", 3, 45, 10, true, false, arabic},
	{"plwiki", "pl.wikipedia.org", 2, 10, 14, false, true, polish},
	{"hiwiki", "hi.wikipedia.org", 1, 10, 25, true, false, hindi},
	{"enwiktionary", "en.wiktionary.org", 1, 30, 10, true, false, english},
}

var bots = []string{"TidyBot", "LinkMenderBot", "Datestamp bot", "OrphanBot II", "InterwikiRobot", "Lint-o-matic"}

var botSummaries = []string{
	"Bot: mending links", "Bot: adding a date to a maintenance template", "Robot: [[$1]]", "fix lint errors (obsolete tags)",
	"Bot: archived one source and tagged 0 as dead", "Bot: moving categories after a discussion",
}

var newcomers = []string{"Quiet Reader ", "Нов участник ", "読者", "Lectora", "قارئ ", "Wanderer", "Petit curieux ", "Leserin"}

var labels = []string{"Lighthouse of Skarholm", "maison du passeur", "Мост у мельницы", "灯台の歴史", "Alte Ziegelei", "قلعة الريح"}

var (
	moves     = []string{"the usual name", "spelling", "per discussion", "", "typo in the title"}
	deletions = []string{"test page", "a copy of a text from elsewhere", "the author asked for it", "empty", "nothing links here"}
	blocks    = []string{"vandalism", "disruptive editing", "spam", "asked to stop three times"}
	durations = []string{"31 hours", "2 hours", "3 days", "1 week", "2 weeks"}
)

var english = words{
	"Category", "Talk", "User", "User talk", "$1 added to category", "$1 removed from category",
	[]string{"$a $b", "$a $b ($y)", "List of the $b of $a", "$y in $a", "History of $a $b"},
	[]string{"Skarholm", "Brindle Fell", "Upper Wexcombe", "Tarn Hollow", "Lake Anselm", "Port Merrow", "Ashdown Mill", "Grey Heron", "Ottery Bridge", "Nine Elms Quay"},
	[]string{"lighthouse", "railway station", "observatory", "cricket club", "ferry", "parish church", "by-election", "botanic garden", "canal", "railway works"},
	[]string{"Harbour Mouse", "Quillfeather", "Old Surveyor", "Maple & Sons", "Tidewatcher", "O'Dell the baker", "Marginalia99", "Bellringer"},
	[]string{"History", "References", "Early life", "External links", "Climate", "See also", "Reception"},
	[]string{
		"typo", "ce", "added a source", "cite the parish register", "link to [[$1]]", "reword, see [[Talk:$1|talk]]", "update figures to \"2025\" & tidy",
		"Undid revision $3 by [[Special:Contributions/$2|$2]] ([[User talk:$2|talk]])", "rm <nowiki> left over from the editor", "+ cat", "short description",
	},
	[]string{"a stub", "new page", "begin an article", "moved from my sandbox — comments welcome", "/* Sources? */ new section"},
	[]string{"Lighthouses completed in the 19th century", "All articles to be expanded", "Articles with dead links", "Railway stations opened in 1867", "Short descriptions"},
}

var french = words{
	"Catégorie", "Discussion", "Utilisateur", "Discussion utilisateur", "$1 ajouté à la catégorie", "$1 retiré de la catégorie",
	[]string{"$a $b", "$b de $a", "$b de $a ($y)", "Élection de $y à $a"},
	[]string{"Saint-Aubrac", "Valmorel-sur-Loge", "l'Étang-Vieux", "Cabriès-le-Haut", "Mont-Serein", "Port-Noël", "Beaulieu-aux-Ormes", "Île d'Arz-Vieille", "Vaucresson-les-Prés"},
	[]string{"Gare", "Phare", "Moulin", "Chapelle", "Château", "Marché couvert", "Tramway", "Musée du sel", "Pont suspendu"},
	[]string{"Passe-muraille", "Églantine 44", "Vieux Loup", "Marie-du-Phare", "Archiviste", "Crayon bleu"},
	[]string{"Histoire", "Géographie", "Notes et références", "Voir aussi", "Biographie"},
	[]string{
		"orthographe", "ajout d'une source", "lien vers [[$1]]", "mise en forme", "précision : « à vérifier »", "typographie, espaces insécables",
		"Annulation de la modification $3 par [[Spécial:Contributions/$2|$2]]", "mise à jour de l'année", "wikification",
	},
	[]string{"ébauche", "nouvelle page", "création de l'article", "redirection depuis l'ancien nom"},
	[]string{"Gare en Provence", "Phare du XIXe siècle", "Article à sourcer", "Moulin à vent en France", "Commune côtière"},
}

var german = words{
	"Kategorie", "Diskussion", "Benutzer", "Benutzer Diskussion", "$1 zur Kategorie hinzugefügt", "$1 aus der Kategorie entfernt",
	[]string{"$b $a", "$a ($b)", "$b $a ($y)", "Geschichte von $a im Jahr $y"},
	[]string{"Großweiler", "Öhringshausen", "Bad Selters", "Nieder-Mühlbach", "Süderende", "Käsbach", "Überlinden", "Altfähre", "Rötelstein"},
	[]string{"Bahnhof", "Leuchtturm", "Burg", "Straßenbahn", "Wasserwerk", "Pfarrkirche", "Ziegelei", "Schützenverein", "Heimatmuseum"},
	[]string{"Flussgöttin", "Der Prüfer", "Müßiggang", "Schreibtisch 7", "Ähnlichkeit", "Ursel vom Deich"},
	[]string{"Geschichte", "Einzelnachweise", "Leben", "Weblinks", "Straßenverkehr"},
	[]string{
		"Tippfehler", "Beleg ergänzt", "+Link [[$1]]", "Typografie: „Anführungszeichen“", "Änderung $3 von [[Spezial:Beiträge/$2|$2]] rückgängig gemacht",
		"Format", "kl. Änderung", "aktualisiert (Stand 2025)", "Größe & Lage",
	},
	[]string{"neuer Artikel", "Weiterleitung", "Anlage, bitte prüfen", "aus dem Benutzernamensraum"},
	[]string{"Bahnhof in Hessen", "Leuchtturm in Europa", "Wikipedia:Belege fehlen", "Burgruine", "Gemeinde am Fluss"},
}

var spanish = words{
	"Categoría", "Discusión", "Usuario", "Usuario discusión", "$1 añadida a la categoría", "$1 eliminada de la categoría",
	[]string{"$b de $a", "$a ($b)", "$b de $a ($y)", "Elecciones de $y en $a"},
	[]string{"San Telmo del Río", "Peñalonga", "Villanueva del Olmo", "Los Álamos Viejos", "Puerto Niño", "Cañada Honda", "Almudéjar", "Santa Eulalia la Real"},
	[]string{"Faro", "Estación", "Ermita", "Mercado", "Puente", "Archivo", "Observatorio", "Tranvía", "Jardín botánico"},
	[]string{"Golondrina", "El boticario", "Señal de humo", "Ñandú", "Lápiz rojo", "Marisol de la Vega"},
	[]string{"Historia", "Referencias", "Biografía", "Véase también", "Población"},
	[]string{
		"ortografía", "añado una referencia", "enlace a [[$1]]", "¿fuente?", "Deshecha la edición $3 de [[Especial:Contribuciones/$2|$2]]",
		"actualización", "corrección de estilo", "traducción del artículo", "±cat",
	},
	[]string{"artículo nuevo", "esbozo", "creo la página", "redirección"},
	[]string{"Faros de España", "Estaciones de ferrocarril", "Wikipedia:Artículos sin referencias", "Municipios costeros"},
}

var russian = words{
	"Категория", "Обсуждение", "Участник", "Обсуждение участника", "Страница $1 добавлена в категорию", "Страница $1 удалена из категории",
	[]string{"$a ($b)", "$b $a", "$a в $y году", "История: $b $a"},
	[]string{"Верхнереченск", "Старые Липы", "Медвежий Яр", "Заозёрный", "Каменный Брод", "Новая Пристань", "Ёлкино", "Подгорье"},
	[]string{"станция", "маяк", "мельница", "река", "футбольный клуб", "музей", "мост", "усадьба", "обсерватория"},
	[]string{"Тихий Дон-2", "Ёжик", "Старый картограф", "Мельник", "Вечерний чай", "Синица"},
	[]string{"История", "Примечания", "Биография", "Ссылки", "Климат"},
	[]string{
		"опечатка", "источник", "ссылка на [[$1]]", "викификация", "отмена правки $3 участника [[Special:Contributions/$2|$2]]",
		"оформление", "уточнение: «по данным переписи»", "обновление данных", "дополнение",
	},
	[]string{"новая статья", "перенаправление", "создание страницы", "заготовка"},
	[]string{"Маяки", "Станции по алфавиту", "Статьи без источников", "Реки по алфавиту", "Усадьбы"},
}

var japanese = words{
	"Category", "ノート", "利用者", "利用者‐会話", "$1がカテゴリに追加されました", "$1がカテゴリから除去されました",
	[]string{"$a$b", "$a$b ($y年)", "$a第$n$b", "$y年の$a$b"},
	[]string{"北浜", "白鷺", "松原", "霧ヶ谷", "月見坂", "新港", "桜堤", "竹ノ内", "青葉台"},
	[]string{"駅", "灯台", "小学校", "神社", "公園", "図書館", "水族館", "橋", "植物園"},
	[]string{"夜汽車", "さざなみ", "古地図", "ねこじゃらし", "東雲", "万年筆"},
	[]string{"歴史", "脚注", "概要", "外部リンク", "周辺"},
	[]string{
		"誤字修正", "出典追加", "[[$1]]へのリンク", "内容を更新", "[[特別:投稿記録/$2|$2]]による版$3を取り消し", "体裁", "加筆", "「要出典」を解消", "節を分割",
	},
	[]string{"新規作成", "ページの作成", "転送ページ", "記事を翻訳"},
	[]string{"日本の灯台", "鉄道駅", "出典を必要とする記事", "植物園"},
}

var arabic = words{
	"تصنيف", "نقاش", "مستخدم", "نقاش المستخدم", "أضيفت $1 إلى التصنيف", "أزيلت $1 من التصنيف",
	[]string{"$b $a", "$b $a ($y)", "$a في عام $y", "تاريخ $b $a"},
	[]string{"وادي الريح", "عين الصفاء", "برج النور", "تل الزيتون", "مرسى الصدف", "دار السلام القديمة", "بئر العسل"},
	[]string{"منارة", "محطة", "قلعة", "مكتبة", "سوق", "جسر", "متحف", "حديقة"},
	[]string{"قلم أزرق", "ساكن البحر", "نجمة الصباح", "القارئ الهادئ", "رحالة"},
	[]string{"التاريخ", "المراجع", "السيرة", "وصلات خارجية"},
	[]string{"تصحيح إملائي", "إضافة مصدر", "وصلة إلى [[$1]]", "تنسيق", "الرجوع عن التعديل $3 من [[خاص:مساهمات/$2|$2]]", "تحديث", "إضافة تصنيف"},
	[]string{"صفحة جديدة", "إنشاء مقالة", "تحويلة", "بذرة"},
	[]string{"منارات", "مقالات بلا مصادر", "قلاع", "مدن ساحلية"},
}

var polish = words{
	"Kategoria", "Dyskusja", "Wikipedysta", "Dyskusja wikipedysty", "$1 dodana do kategorii", "$1 usunięta z kategorii",
	[]string{"$b $a", "$a ($b)", "$b $a ($y)", "$a w roku $y"},
	[]string{"Żabia Łąka", "Wólka Świerkowa", "Zagórze Dolne", "Brzeźno Śląskie", "Stara Przystań", "Dębowiec", "Ćmielin", "Rdzawa Góra"},
	[]string{"stacja", "latarnia", "młyn", "kościół", "most", "muzeum", "ogród", "dwór"},
	[]string{"Źdźbło", "Cicha woda", "Pan Kartograf", "Jaskółka", "Łoś z Mazur"},
	[]string{"Historia", "Przypisy", "Położenie", "Życiorys"},
	[]string{"literówka", "źródło", "link do [[$1]]", "drobne redakcyjne", "Anulowano wersję $3 autorstwa [[Specjalna:Wkład/$2|$2]]", "aktualizacja", "kat.", "poprawa gęstości tekstu"},
	[]string{"nowy artykuł", "zalążek", "przekierowanie", "utworzono stronę: żółw"},
	[]string{"Latarnie morskie", "Wsie w Polsce", "Artykuły bez źródeł", "Młyny"},
}

var hindi = words{
	"श्रेणी", "वार्ता", "सदस्य", "सदस्य वार्ता", "$1 श्रेणी में जोड़ा गया", "$1 श्रेणी से हटाया गया",
	[]string{"$a $b", "$a $b ($y)", "$y में $a", "$a का $b"},
	[]string{"नीलगाँव", "पुराना घाट", "सोनपुरा", "चाँदनी टीला", "आमबाग", "नदीपार", "केसरगढ़"},
	[]string{"रेलवे स्टेशन", "संग्रहालय", "पुल", "मन्दिर", "पुस्तकालय", "बाँध", "मेला", "उद्यान"},
	[]string{"शान्त पाठक", "नदी किनारे", "पुरानी कलम", "मानचित्रकार"},
	[]string{"इतिहास", "सन्दर्भ", "जीवन", "बाहरी कड़ियाँ"},
	[]string{"वर्तनी सुधार", "स्रोत जोड़ा", "[[$1]] की कड़ी", "अद्यतन", "[[विशेष:योगदान/$2|$2]] का अवतरण $3 पूर्ववत किया", "श्रेणी जोड़ी"},
	[]string{"नया पृष्ठ", "लेख बनाया", "अनुप्रेषण"},
	[]string{"रेलवे स्टेशन", "स्रोतहीन लेख", "संग्रहालय"},
}

var media = words{
	"Category", "File talk", "User", "User talk", "$1 added to category", "$1 removed from category",
	[]string{"$b, $a $n.jpg", "$a - $b ($y).jpg", "$b near $a, view from the north $n.jpg", "Map of $a $n.svg", "$b $a 📷 $n.jpg"},
	[]string{"Skarholm", "Großweiler", "Saint-Aubrac", "Верхнереченск", "北浜", "Peñalonga", "وادي الريح", "Żabia Łąka", "Port Merrow"},
	[]string{"Lighthouse", "Red barn", "Tram 14", "Old mill", "Heron in flight", "Brass clock", "Market hall", "Herbarium sheet", "Stained glass"},
	[]string{"Shutterbird", "Flussgöttin", "Camera obscura 3", "Marie-du-Phare", "Старый картограф", "東雲"},
	nil,
	[]string{
		"add a location on the map", "crop", "better description", "+[[Category:Lighthouses at dusk]]", "caption: [[$1]]", "/* wbeditentity-update:0| */",
		"/* wbcreateclaim-create:1| */ [[d:Special:EntityPage/P180]]: [[d:Special:EntityPage/Q39715]]", "license review passed", "remove a watermark template",
	},
	[]string{"own work, uploaded with a script", "a photograph taken on a walk", "scan of a postcard", "User created page with UploadWizard"},
	[]string{"Lighthouses at dusk", "Photographs to be located", "Red barns", "CC-BY-SA-4.0", "Files with no machine-readable author", "Trams"},
}

var data = words{
	"Category", "Talk", "User", "User talk", "$1 added to category", "$1 removed from category",
	nil, nil, nil,
	[]string{"Statement smith", "Quillfeather", "Églantine 44", "Ёжик", "夜汽車", "Der Prüfer"},
	nil,
	[]string{
		"/* wbsetclaim-create:2||1 */ [[Property:P$p]]: [[$q]]", "/* wbsetlabel-add:1|de */ Alte Ziegelei", "/* wbsetdescription-add:1|en */ lighthouse on an island",
		"/* wbsetreference-add:2| */ [[Property:P$p]]: [[$q]]", "/* wbsetlabel-set:1|ja */ 灯台の歴史", "/* wbeditentity-update-languages-short:0||ar, fr */ قلعة الريح",
		"/* wbremoveclaims-remove:1| */ [[Property:P$p]]: [[$q]]", "/* wbsetaliases-add:1|en */ the old light", "/* wbsetsitelink-add:1|frwiki */ Phare de Port-Noël",
		"/* undo:0||$3|$2 */",
	},
	[]string{""},
	[]string{"Properties without a label", "Wikidata:Items to be merged", "Templates"},
}
