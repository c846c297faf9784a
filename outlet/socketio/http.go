package socketio

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"tidings/websocket"
)

// AllowOrigin sets the headers of a request from a page and reports whether the page may connect: one from the server's own host,
// or from one of origins, of which "*" is every one. The origin is named, because a page that sends credentials, as the clients of
// both protocols do, may not be answered with * (Fetch, section 3.2.5).
func AllowOrigin(w http.ResponseWriter, r *http.Request, origins []string) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	if !websocket.OriginAllowed(r, origins) {
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	h.Add("Vary", "Origin")
	return true
}

// AppendResponse appends the response to a poll whose connection has left net/http. lines are those of HeaderLines.
func AppendResponse(dst []byte, contentType, lines string, body []byte) []byte {
	dst = append(dst, "HTTP/1.1 200 OK\r\nDate: "...)
	dst = time.Now().UTC().AppendFormat(dst, http.TimeFormat)
	dst = append(append(append(dst, "\r\nContent-Type: "...), contentType...), "\r\nCache-Control: no-store\r\nConnection: close\r\n"...)
	dst = append(append(dst, lines...), "Content-Length: "...)
	dst = strconv.AppendInt(dst, int64(len(body)), 10)
	return append(append(dst, "\r\n\r\n"...), body...)
}

// HeaderLines returns the header as lines.
func HeaderLines(h http.Header) string {
	var b strings.Builder
	h.Write(&b)
	return b.String()
}
