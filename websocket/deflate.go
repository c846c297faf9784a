package websocket

import (
	"bytes"
	stdflate "compress/flate"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/klauspost/compress/flate"
)

// tail ends each flush of a deflate stream and is left out of messages (RFC 7692 section 7.2.1). What follows it here is
// an empty last block, at which the reader stops.
const (
	tail    = "\x00\x00\xff\xff"
	lastEnd = "\x01\x00\x00\xff\xff"
)

// AppendDeflated appends a text message as one compressed frame, for connections whose Deflate is true. It depends on
// no other message, so that it can be sent to any of them. A message that compression makes no shorter is sent as it is,
// which RFC 7692 section 6 leaves to the sender.
func AppendDeflated(dst, payload []byte) []byte {
	var buf bytes.Buffer
	// The compressor that keeps nothing between messages is three times faster here than one that is reset.
	flate.StatelessDeflate(&buf, payload, false, nil) // a buffer takes everything
	b := bytes.TrimSuffix(buf.Bytes(), []byte(tail))
	if len(b) >= len(payload) {
		return AppendText(dst, payload)
	}
	return appendFrame(dst, bitFin|bitRSV1|opText, b)
}

var inflaters = sync.Pool{New: func() any { return stdflate.NewReader(nil) }}

// inflate returns the message of which p is the compressed form, if it has at most max bytes: it stops at the first byte
// beyond them.
func inflate(p []byte, max int) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	src := io.MultiReader(bytes.NewReader(p), strings.NewReader(tail+lastEnd))
	if err := r.(stdflate.Resetter).Reset(src, nil); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	n, err := io.Copy(&buf, io.LimitReader(r, int64(max)+1))
	r.(stdflate.Resetter).Reset(strings.NewReader(""), nil) // holds nothing of the message
	switch {
	case n > int64(max):
		return nil, tooBig
	case err != nil:
		return nil, &CloseError{InvalidPayload, "a message cannot be inflated"}
	}
	return buf.Bytes(), nil
}

// negotiateDeflate returns the value of Sec-WebSocket-Extensions that accepts the first offer of permessage-deflate that
// can be accepted, or "". Both sides go without context takeover: the server so that a frame is the same for all, the
// client so that an idle connection keeps no window.
func negotiateDeflate(offers []string) string {
	for offer := range strings.SplitSeq(strings.Join(offers, ","), ",") {
		name, params, _ := strings.Cut(offer, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "permessage-deflate") {
			continue
		}
		if answer, ok := acceptDeflate(params); ok {
			return "permessage-deflate; server_no_context_takeover; client_no_context_takeover" + answer
		}
	}
	return ""
}

// acceptDeflate judges the parameters of an offer (RFC 7692 section 7.1). One with a parameter that is unknown, repeated
// or has a bad value is declined, as section 7 asks; so is one that wants a window smaller than the encoder's.
func acceptDeflate(params string) (answer string, ok bool) {
	var seen []string
	for param := range strings.SplitSeq(params, ";") {
		name, value, hasValue := strings.Cut(strings.TrimSpace(param), "=")
		name, value = strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(value), `"`)
		if name == "" && params == "" {
			break
		}
		if slices.Contains(seen, name) {
			return "", false
		}
		seen = append(seen, name)
		switch name {
		case "server_no_context_takeover", "client_no_context_takeover":
			if hasValue {
				return "", false
			}
		case "client_max_window_bits":
			if hasValue && !slices.Contains([]string{"8", "9", "10", "11", "12", "13", "14", "15"}, value) {
				return "", false
			}
		case "server_max_window_bits":
			if value != "15" {
				return "", false
			}
			answer = "; server_max_window_bits=15"
		default:
			return "", false
		}
	}
	return answer, true
}
