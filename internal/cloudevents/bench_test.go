package cloudevents

import (
	"strings"
	"testing"
	"time"

	"tidings"
)

func BenchmarkAppend(b *testing.B) {
	object := `{"title":"Main Page","user":"Somebody","comment":"a \"word\" or two","bot":false,"length":{"old":1200,"new":1234},"revision":{"old":1,"new":2},"wiki":"enwiki"}`
	js := "[" + object + "," + object + "," + object + "]"
	for _, bb := range []struct{ name, contentType, data string }{
		{"json", "application/json", js[:len(js)-1] + "]"},
		{"text", "text/plain", strings.Repeat("some words, some more\n", 512/22)},
		{"xml", "application/xml", strings.Repeat("<e a=\"1\">text</e>", 512/17)},
		{"binary", "image/png", strings.Repeat("\x00\xff\x80a", 128)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			e := &tidings.Event{Position: tidings.Position{Epoch: 0x5f3a9c01, Offset: 1042}, Topic: "/recentchange/en.wikipedia.org", Time: time.Now()}
			data := []byte(bb.data)
			buf := make([]byte, 0, 4096)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				buf = Append(buf[:0], e, bb.contentType, data)
			}
		})
	}
}
