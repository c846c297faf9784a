package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"tidings"
	"tidings/internal/problem"
)

//go:embed assets
var assetFiles embed.FS

//go:embed page.html
var pageFile string

// page is the data of page.html.
type page struct {
	view
	Stream   string // address of the stream
	State    string // address of the figures
	Head     tidings.Position
	At       time.Time
	Rows     []row // the newest first
	Searched bool  // the time for finding the latest events was over before enough of them were found
	Figures  figures
	Ways     []shownWay
	Examples []example
}

// Title is the document's title.
func (p *page) Title() string {
	if !p.Narrowed() {
		return "Tidings"
	}
	return strings.Join(p.Topics, ", ") + " · Tidings"
}

// MoreTopics is how many topics match that the list does not show.
func (p *page) MoreTopics() int { return p.Figures.Matched - len(p.Figures.Topics) }

var templates = template.Must(template.New("page").Funcs(template.FuncMap{
	"asset":   assetPath,
	"bars":    bars,
	"scale":   scale,
	"rate":    rateText,
	"number":  numberText,
	"topRate": func(top uint32, seconds int) string { return rateText(float64(top) / float64(seconds)) },
	// A topic is shown as its last segment, and what stands before it apart.
	"parent": func(t tidings.Topic) string { return string(t)[:strings.LastIndexByte(string(t), '/')] },
	"last": func(t tidings.Topic) string {
		if i := strings.LastIndexByte(string(t), '/'); i > 0 {
			return string(t)[i+1:]
		}
		return string(t)
	},
}).New("page.html").Parse(pageFile))

// The chart's functions are in assets/page.js too; the tests of both use the same table.

// scale returns what the top of a chart stands for: the next number that is easy to read, times per, that no count is
// above.
func scale(counts []uint32, per int) uint32 {
	most := uint32(1)
	for _, n := range counts {
		most = max(most, n)
	}
	for unit := uint32(1); ; unit *= 10 {
		for _, n := range []uint32{1, 2, 3, 4, 5, 6, 8} {
			if top := n * unit * uint32(per); top >= most || unit >= 10_000_000 {
				return top
			}
		}
	}
}

// bars returns the counts as the path of a bar chart: each bar is 10 wide with 2 between, and 100 high if it is top.
func bars(counts []uint32, top uint32) string {
	var b strings.Builder
	for i, n := range counts {
		if n == 0 {
			continue
		}
		height := max(2, int(math.Round(100*float64(min(n, top))/float64(max(top, 1)))))
		fmt.Fprintf(&b, "M%d 100V%dh8V100z", i*10+1, 100-height)
	}
	return b.String()
}

// rateText returns events a second as a person likes to read them.
func rateText(perSecond float64) string {
	perMinute := perSecond * 60
	switch {
	case perSecond >= 9.95:
		return numberText(uint64(math.Round(perSecond))) + "/s"
	case perSecond >= 0.995:
		return strconv.FormatFloat(perSecond, 'f', 1, 64) + "/s"
	case perMinute >= 0.5:
		return strconv.FormatFloat(math.Round(perMinute), 'f', 0, 64) + "/min"
	case perMinute > 0:
		return "<1/min"
	}
	return "0"
}

// numberText returns a number that is not negative, with its thousands apart.
func numberText(n any) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// An asset is served under a name that has a hash of its content, so that it may be kept for ever.
type asset struct {
	name string // page.js
	path string // /assets/page.0123456789ab.js
	typ  string
	tag  string
	body []byte
}

var assetTypes = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

var assets = func() map[string]asset {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err)
	}
	all := map[string]asset{}
	for _, e := range entries {
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(body)
		hash := hex.EncodeToString(sum[:6])
		ext := path.Ext(e.Name())
		a := asset{name: e.Name(), typ: assetTypes[ext], tag: `"` + hash + `"`, body: body}
		a.path = AssetsPath + strings.TrimSuffix(e.Name(), ext) + "." + hash + ext
		all[a.path] = a
	}
	return all
}()

// assetPath returns the path of the asset of that name.
func assetPath(name string) (string, error) {
	for _, a := range assets {
		if a.name == name {
			return a.path, nil
		}
	}
	return "", fmt.Errorf("web: there is no asset %q", name)
}

// ServeAsset answers GET /assets/NAME. A name of another content, as an older page may have, is not found.
func (s *Server) ServeAsset(w http.ResponseWriter, r *http.Request) {
	a, ok := assets[r.URL.Path]
	if !ok {
		problem.Write(w, r, tidings.Errorf(tidings.ErrNotFound, "there is no asset %s: the page names those there are", r.URL.Path))
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.typ)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", a.tag)
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	if r.Method != http.MethodHead {
		w.Write(a.body)
	}
}
