// Package topicurl translates between topics and the URLs of their resources, which are the paths below /topics with
// each segment percent-encoded (RFC 3986 section 2.1).
package topicurl

import (
	"net/url"
	"strings"

	"tidings"
)

// Prefix is the path below which the topics are.
const Prefix = "/topics"

// Append appends the path of the topic's resource, such as /topics/recentchange/en.wikipedia.org. Bytes that are not
// unreserved (RFC 3986 section 2.3) and not one of $ & + = : @ are percent-encoded, so each topic has one path.
func Append(dst []byte, t tidings.Topic) []byte {
	dst = append(dst, Prefix...)
	const hex = "0123456789ABCDEF"
	for i := range len(t) {
		if c := t[i]; c == '/' || plain[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', hex[c>>4], hex[c&15])
		}
	}
	return dst
}

// plain tells the bytes of a segment that stand for themselves.
var plain = func() (set [256]bool) {
	for c := range 256 {
		set[c] = 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c < 0x80 && strings.ContainsRune("-._~$&+=:@", rune(c))
	}
	return set
}()

// Of returns the path that Append appends.
func Of(t tidings.Topic) string { return string(Append(nil, t)) }

// Item returns the path and query of one item of a topic, such as /topics/news?item=5f3a9c01-1042.
func Item(t tidings.Topic, id string) string {
	return Of(t) + "?item=" + url.QueryEscape(id)
}

// Path returns the path of a topic or of a pattern that an URL's escaped path names, such as /news for /topics/news: what
// follows Prefix, with each segment decoded. It is not yet checked; that is for tidings.ParseTopic or
// tidings.ParsePattern. An encoded slash is an error, as it would change where the segments begin. Errors are of kind
// ErrInvalid, or ErrNotFound where the path is not below Prefix.
//
// In a URL a pattern's ? is written %3F; * and [ ] need no encoding, though clients may encode them.
func Path(escaped string) (string, error) {
	rest, ok := strings.CutPrefix(escaped, Prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return "", tidings.Errorf(tidings.ErrNotFound, "no topic has this address: topics are below %s/", Prefix)
	}
	if strings.IndexByte(rest, '%') < 0 {
		return rest, nil
	}
	segs := strings.Split(rest, "/")
	for i, seg := range segs {
		s, err := url.PathUnescape(seg)
		if err != nil {
			return "", tidings.Errorf(tidings.ErrInvalid, "the path has a %% that does not begin an encoded byte such as %%20")
		}
		if strings.IndexByte(s, '/') >= 0 {
			return "", tidings.Errorf(tidings.ErrInvalid, "the path has an encoded slash (%%2F) in a segment: a topic's segment has no slash")
		}
		segs[i] = s
	}
	return strings.Join(segs, "/"), nil
}

// Topic returns the topic that an URL's escaped path names.
func Topic(escaped string) (tidings.Topic, error) {
	p, err := Path(escaped)
	if err != nil {
		return "", err
	}
	if p == "" || p == "/" {
		return "", tidings.Errorf(tidings.ErrInvalid, "the path names no topic: want %s/ and a topic, such as %s/news", Prefix, Prefix)
	}
	return tidings.ParseTopic(p)
}
