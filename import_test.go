package tidings_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "tidings"

// importRow says what the packages below a folder may import of this module. The first row that covers a folder holds
// for it. It binds what is linked into programs; test files may import anything but a command.
type importRow struct {
	folders string   // "" is the root; a/... is a and all below it
	ours    []string // folders of this module, in the same notation
	foreign string   // what of other modules: "" nothing, "any", or import paths separated by spaces
}

// importTable is the table of imports that ARCHITECTURE.md explains. A folder with Go files that no row covers fails the
// test, so that a new part of the program states here what it depends on.
var importTable = []importRow{
	{"", nil, ""},
	// It shares the reader of Server-Sent Events with the sources, and XMPP with the server; strangers import the client, and
	// with it these.
	{"client", []string{"", "internal/retry", "internal/sse", "xmpp/..."}, ""},

	{"journal/journaltest", []string{"", "journal"}, "any"},
	{"journal", []string{""}, "any"},
	{"access", []string{""}, "any"},
	{"recentchange", []string{""}, "any"},
	{"config", []string{"", "irc", "recentchange"}, "any"},

	{"hub/hubtest", []string{"", "access", "hub"}, "any"},
	{"hub/expression", []string{"", "hub"}, "any"},
	{"hub", []string{"", "access"}, "any"},
	{"pubsub", []string{"", "access", "hub"}, ""},
	{"edge", nil, "golang.org/x/sys/unix"},
	{"irc", nil, ""},
	{"websocket", []string{"", "edge", "internal/..."}, "github.com/klauspost/compress/flate"},

	{"internal/...", []string{"", "internal/..."}, "any"},
	{"source/mediawiki/...", []string{"", "recentchange", "internal/...", "source/mediawiki/intake"}, "any"},
	{"source/...", []string{"", "recentchange", "internal/..."}, "any"},
	// The folder outlet itself holds what outlets share; it is none of them.
	{"outlet/outlettest", []string{"", "access", "edge", "hub", "journal"}, "any"},
	{"outlet/...", []string{"", "hub", "hub/expression", "edge", "irc", "websocket", "recentchange", "xmpp/...", "pubsub", "internal/..."}, "any"},
	{"xmpp/...", []string{"edge", "xmpp/..."}, "any"},
	// The page is an outlet in another folder: it reads the hub as they do.
	{"web", []string{"", "hub", "outlet", "internal/..."}, "github.com/go-json-experiment/json/jsontext"},

	{"cmd/...", []string{"..."}, "any"},
	{"bench/...", []string{"..."}, "any"},
	{"interop/...", []string{"..."}, "any"},
	{"examples/...", []string{"", "client"}, ""},
}

// outside are the folders that look at the program from outside and import what they need of it; like apart, they are
// imported by nothing but themselves, each other and tests.
var (
	outside = []string{"bench/...", "interop/..."}
	apart   = []string{"bench/...", "interop/...", "examples/...", "journal/journaltest", "hub/hubtest", "outlet/outlettest",
		"xmpp/service/servicetest", "xmpp/xmlstream/xmlstreamtest", "xmpp/xmpptest"}
)

// covers reports whether a folder is one that the notation of importTable names.
func covers(pattern, folder string) bool {
	if pattern == "..." {
		return true
	}
	if top, ok := strings.CutSuffix(pattern, "/..."); ok {
		return folder == top || strings.HasPrefix(folder, top+"/")
	}
	return folder == pattern
}

func coveredBy(patterns []string, folder string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return covers(p, folder) })
}

// mayImport returns why a package in folder may not import path, or "".
func mayImport(folder, imported string, test bool) string {
	if imported == "C" {
		return "the program is built without cgo"
	}
	first, _, _ := strings.Cut(imported, "/")
	if first != module { // other modules have a dot in the first element, the standard library has none
		if !strings.Contains(first, ".") || test {
			return ""
		}
		switch row := rowOf(folder); {
		case row == nil || row.foreign == "any" || slices.Contains(strings.Fields(row.foreign), imported):
			return ""
		case row.foreign == "":
			return "it imports the standard library only"
		default:
			return "of other modules it imports only " + row.foreign
		}
	}
	target := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
	if covers("cmd/...", target) {
		return "nothing imports a command"
	}
	if test {
		return ""
	}
	if coveredBy(apart, target) && !coveredBy(outside, folder) && target != folder {
		return "only tests import " + target
	}
	if covers("outlet/...", folder) && target == "outlet" {
		return ""
	}
	if covers("outlet/...", folder) && covers("outlet/...", target) {
		if outletOf(folder) == outletOf(target) {
			return ""
		}
		return "an outlet does not import another"
	}
	if row := rowOf(folder); row != nil && !coveredBy(row.ours, target) {
		return "its row in importTable does not allow it"
	}
	return ""
}

// outletOf returns the outlet that a folder belongs to: xmpp for outlet/xmpp/room.
func outletOf(folder string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(folder, "outlet/"), "/")
	return name
}

func rowOf(folder string) *importRow {
	for i := range importTable {
		if covers(importTable[i].folders, folder) {
			return &importTable[i]
		}
	}
	return nil
}

// goFiles returns the Go files of the module by folder, whatever their build constraints. A folder with a go.mod of its
// own is another module.
func goFiles(t *testing.T) map[string][]string {
	t.Helper()
	files := map[string][]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == "." {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(path.Join(p, "go.mod")); err == nil || d.Name()[0] == '.' || slices.Contains([]string{"testdata", "node_modules"}, d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if folder, name := path.Split(p); strings.HasSuffix(name, ".go") {
			folder = strings.TrimSuffix(folder, "/")
			files[folder] = append(files[folder], p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestImports(t *testing.T) {
	files := goFiles(t)
	if len(files[""]) == 0 {
		t.Fatal("found no Go file at the root of the module")
	}
	for folder, names := range files {
		if rowOf(folder) == nil {
			t.Errorf("%s has Go files and no row in importTable: say there what it may import", folder)
			continue
		}
		for _, name := range names {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, spec := range f.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if why := mayImport(folder, imported, strings.HasSuffix(name, "_test.go")); why != "" {
					t.Errorf("%s imports %s: %s", name, imported, why)
				}
			}
		}
	}
}

// TestImportRules tries the rules themselves, so that a table that allows everything does not pass.
func TestImportRules(t *testing.T) {
	for _, tc := range []struct {
		folder, imported string
		test, ok         bool
	}{
		{"", "errors", false, true},
		{"", "tidings/hub", false, false},
		{"", "github.com/nats-io/nats.go", false, false},
		{"", "pgregory.net/rapid", true, true},
		{"journal", "tidings", false, true},
		{"journal", "tidings/hub", false, false},
		{"journal", "tidings/journal/journaltest", true, true},
		{"journal", "tidings/journal/journaltest", false, false},
		{"journal", "github.com/nats-io/nats.go", false, true},
		{"hub", "tidings/access", false, true},
		{"hub", "tidings/journal", false, false},
		{"hub", "tidings/journal", true, true},
		{"hub", "tidings/outlet/sse", false, false},
		{"edge", "golang.org/x/sys/unix", false, true},
		{"edge", "golang.org/x/net/http2", false, false},
		{"edge", "tidings", false, false},
		{"source/mediawiki", "tidings/recentchange", false, true},
		{"source/mediawiki", "tidings/internal/bearer", false, true},
		{"source/mediawiki", "tidings/journal", false, false},
		{"outlet/sse", "tidings/recentchange", false, true},
		{"outlet/sse", "tidings/outlet/irc", false, false},
		{"outlet/xmpp/room", "tidings/outlet/xmpp", false, true},
		{"outlet/sse", "tidings/outlet", false, true},
		{"outlet/sse", "tidings/outlet/outlettest", false, false},
		{"outlet/sse", "tidings/outlet/outlettest", true, true},
		{"outlet/outlettest", "tidings/journal", false, true},
		{"outlet", "tidings/outlet/sse", false, false},
		{"outlet/sse", "tidings/journal", false, false},
		{"outlet/ws", "tidings/websocket", false, true},
		{"outlet/irc", "tidings/irc", false, true},
		{"irc", "tidings", false, false},
		{"irc", "tidings/edge", false, false},
		{"websocket", "tidings/hub", false, false},
		{"outlet/xmpp", "tidings/xmpp/jid", false, true},
		{"outlet/sse", "tidings/source/http", false, false},
		{"xmpp/pubsub", "tidings/xmpp/stanza", false, true},
		{"xmpp/pubsub", "tidings", false, false},
		{"client", "tidings", false, true},
		{"client", "tidings/internal/bearer", false, false},
		{"client", "tidings/internal/sse", false, true},
		{"client", "tidings/xmpp/dial", false, true},
		{"client", "tidings/recentchange", false, false},
		{"source/mediawiki/poll", "tidings/source/mediawiki/intake", false, true},
		{"source/mediawiki/poll", "tidings/source/mediawiki/redis", false, false},
		{"client", "golang.org/x/net/html", false, false},
		{"config", "tidings/recentchange", false, true},
		{"config", "tidings/journal", false, false},
		{"cmd/tidings", "tidings/hub", false, true},
		{"cmd/tidings", "tidings/bench", false, false},
		{"bench", "tidings/cmd/tidings", false, false},
		{"bench/run", "tidings/bench/internal/measure", false, true},
		{"bench/run", "tidings/interop/mediawiki", false, true},
		{"interop", "tidings/cmd/tidings", true, false},
		{"web", "tidings/hub", false, true},
		{"web", "tidings/outlet", false, true},
		{"web", "tidings/outlet/sse", false, false},
		{"web", "tidings/journal", false, false},
		{"hub", "C", false, false},
	} {
		if why := mayImport(tc.folder, tc.imported, tc.test); (why == "") != tc.ok {
			t.Errorf("%q importing %s (test: %v): %q", tc.folder, tc.imported, tc.test, why)
		}
	}
	if rowOf("util") != nil {
		t.Error("a folder that nobody named has a row")
	}
}
