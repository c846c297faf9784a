package recentchange

import (
	"path/filepath"
	"strings"
	"testing"
)

// kilobyte is an event of the size that the figures are given for.
func kilobyte(b *testing.B) []byte {
	for _, d := range datagrams(b, filepath.Join("testdata", "capture", "json.datagrams")) {
		rc, err := Decode(TypeJSON, d)
		if err != nil {
			b.Fatal(err)
		}
		if rc.Type == Edit && rc.Patrolled.IsSet() {
			rc.Comment = Some(strings.Repeat("/* Worms */ a \"summary\" & more — ", 40))
			for n := 1280; len(rc.AppendJSON(nil)) > 1024; n -= 16 {
				rc.Comment = Some(strings.ToValidUTF8(rc.Comment.Value()[:n], ""))
			}
			return rc.AppendJSON(nil)
		}
	}
	b.Fatal("the capture has no patrolled edit")
	return nil
}

func BenchmarkDecode(b *testing.B) {
	b.Run("json-1KB", func(b *testing.B) { decodeLoop(b, TypeJSON, [][]byte{kilobyte(b)}) })
	for _, d := range []struct{ name, ct string }{{"json", TypeJSON}, {"xml", TypeXML}, {"rc", TypeRC}, {"irc", TypeIRC}} {
		b.Run(d.name+"-capture", func(b *testing.B) {
			decodeLoop(b, d.ct, datagrams(b, filepath.Join("testdata", "capture", d.name+".datagrams")))
		})
	}
}

func decodeLoop(b *testing.B, ct string, payloads [][]byte) {
	total := 0
	for _, p := range payloads {
		total += len(p)
	}
	b.SetBytes(int64(total / len(payloads)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := Decode(ct, payloads[i%len(payloads)]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	rc, err := Decode(TypeJSON, kilobyte(b))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 4096)
	b.Run("eventstreams-1KB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = rc.AppendEventStreams(buf[:0], Meta{Topic: "5f3a9c01.mediawiki.recentchange", Offset: 1042})
		}
	})
	b.Run("json-1KB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = rc.AppendJSON(buf[:0])
		}
	})
	b.Run("rc-1KB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = rc.AppendRC(buf[:0])
		}
	})
	b.Run("irc-1KB", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = rc.AppendIRC(buf[:0], Wiki{})
		}
	})
}

func BenchmarkField(b *testing.B) {
	rc, err := Decode(TypeJSON, kilobyte(b))
	if err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"wiki", "type", "bot", "namespace", "user", "comment", "id"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rc.Field(name)
			}
		})
	}
}
