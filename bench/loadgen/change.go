//go:build linux

package main

import "strconv"

// appendChange appends an edit as MediaWiki's JSONRCFeedFormatter sends it: the same keys in the same order, compact.
// The event's text is the edit summary. wiki numbers the wiki, whose server_name is wN.bench.example; rcid has to be
// unique on it, because the same rcid is the same change.
func appendChange(b []byte, wiki int, rcid, now int64, comment []byte) []byte {
	w := strconv.Itoa(max(0, wiki))
	id := strconv.FormatInt(rcid, 10)
	page := "Page " + strconv.FormatInt(rcid%5000, 10)
	b = append(b, `{"id":`+id+`,"type":"edit","namespace":0,"title":"`+page+`","title_url":"https://w`+w+
		`.bench.example/wiki/Page_`+strconv.FormatInt(rcid%5000, 10)+`","comment":"`...)
	b = append(b, comment...)
	b = append(b, `","timestamp":`...)
	b = strconv.AppendInt(b, now, 10)
	b = append(b, `,"user":"Editor `+strconv.FormatInt(rcid%97, 10)+`","bot":`...)
	b = strconv.AppendBool(b, rcid%3 == 0)
	b = append(b, `,"notify_url":"https://w`+w+`.bench.example/w/index.php?diff=`+id+`\u0026oldid=`...)
	b = strconv.AppendInt(b, rcid-1, 10)
	b = append(b, `","minor":`...)
	b = strconv.AppendBool(b, rcid%2 == 0)
	b = append(b, `,"length":{"old":4000,"new":`...)
	b = strconv.AppendInt(b, 4000+rcid%200-100, 10)
	b = append(b, `},"revision":{"old":`...)
	b = strconv.AppendInt(b, rcid-1, 10)
	b = append(b, `,"new":`+id+`},"server_url":"https://w`+w+`.bench.example","server_name":"w`+w+
		`.bench.example","server_script_path":"/w","wiki":"w`+w+`wiki"}`...)
	return b
}
