//go:build interop && linux

package interop_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a headless Chromium, driven by the Chrome DevTools Protocol over a pair of pipes (--remote-debugging-pipe:
// JSON messages that end in a zero byte), which needs no library and no port.
type browser struct {
	t   *testing.T
	pid int
	to  io.Writer

	mu      sync.Mutex
	last    int
	answers map[int]chan message
	heard   map[string]func(params json.RawMessage) // by session and method
	err     error                                   // why there are no more answers
}

type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// newBrowser starts Chromium; the test ends it.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path := command(t, "chromium")
	profile, err := os.MkdirTemp(scratch, "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	cmd.Env = append(os.Environ(), "TZ=UTC")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	run(t, cmd)
	theirIn.Close()
	theirOut.Close()
	b := &browser{t: t, pid: cmd.Process.Pid, to: ourOut, answers: map[int]chan message{}, heard: map[string]func(json.RawMessage){}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.listen(ourIn)
	}()
	t.Cleanup(func() {
		ourOut.Close() // Chromium ends with its pipe; run kills what is left
		ourIn.Close()
		<-ended
	})
	return b
}

func (b *browser) listen(r io.Reader) {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			b.err = fmt.Errorf("the browser is gone: %w", err)
			for _, ch := range b.answers {
				close(ch)
			}
			b.answers = nil
			b.mu.Unlock()
			return
		}
		var m struct {
			message
			Params json.RawMessage `json:"params"`
		}
		if json.Unmarshal(line[:len(line)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		ch := b.answers[m.ID]
		delete(b.answers, m.ID)
		hear := b.heard[m.SessionID+m.Method]
		b.mu.Unlock()
		if ch != nil {
			ch <- m.message
		}
		if hear != nil {
			hear(m.Params)
		}
	}
}

// call sends a command and decodes its result, unless result is nil.
func (b *browser) call(ctx context.Context, session, method string, params, result any) error {
	ch := make(chan message, 1)
	b.mu.Lock()
	if b.err != nil {
		b.mu.Unlock()
		return b.err
	}
	b.last++
	id := b.last
	b.answers[id] = ch
	line, err := json.Marshal(message{ID: id, SessionID: session, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(line, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case m, ok := <-ch:
		switch {
		case !ok:
			return b.err
		case m.Error != nil:
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// tab is a page in the browser. Its methods fail the test.
type tab struct {
	*browser
	ctx     context.Context
	session string
	console chan string // what the page complains about, violations of its policy included
}

// any is the type of a command's parameters.
type object = map[string]any

// open opens a tab in which every document first runs the script.
func (b *browser) open(ctx context.Context, script string) *tab {
	b.t.Helper()
	p := &tab{browser: b, ctx: ctx, console: make(chan string, 1000)}
	var made struct{ TargetID, SessionID string }
	p.check(b.call(ctx, "", "Target.createTarget", object{"url": "about:blank"}, &made))
	p.check(b.call(ctx, "", "Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &made))
	p.session = made.SessionID
	note := func(params json.RawMessage) {
		select {
		case p.console <- string(params):
		default:
		}
	}
	b.mu.Lock()
	b.heard[p.session+"Runtime.exceptionThrown"] = note
	b.heard[p.session+"Log.entryAdded"] = note
	b.mu.Unlock()
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		p.do(domain+".enable", nil, nil)
	}
	if script != "" {
		p.do("Page.addScriptToEvaluateOnNewDocument", object{"source": script}, nil)
	}
	return p
}

func (p *tab) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *tab) do(method string, params, result any) {
	p.t.Helper()
	if params == nil {
		params = object{}
	}
	p.check(p.call(p.ctx, p.session, method, params, result))
}

// goTo loads the address and waits until the document and its module have run.
func (p *tab) goTo(url string) {
	p.t.Helper()
	p.loads(func() {
		var r struct{ ErrorText string }
		p.do("Page.navigate", object{"url": url}, &r)
		if r.ErrorText != "" {
			p.t.Fatalf("%s: %s", url, r.ErrorText)
		}
	})
}

// loads waits until what is done has loaded a document and its module has run.
func (p *tab) loads(do func()) {
	p.t.Helper()
	loaded := make(chan struct{}, 100)
	p.mu.Lock()
	p.heard[p.session+"Page.loadEventFired"] = func(json.RawMessage) {
		select {
		case loaded <- struct{}{}:
		default:
		}
	}
	p.mu.Unlock()
	do()
	select {
	case <-loaded:
	case <-p.ctx.Done():
		p.t.Fatalf("waiting for a document: %v", p.ctx.Err())
	}
}

// eval evaluates the expression, awaits it if it is a promise, and decodes its value.
func (p *tab) eval(expression string, result any) {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	p.do("Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &r)
	if e := r.ExceptionDetails; e != nil {
		p.t.Fatalf("%s\n%s %s", expression, e.Text, e.Exception.Description)
	}
	if result != nil && len(r.Result.Value) > 0 {
		p.check(json.Unmarshal(r.Result.Value, result))
	}
}

// text returns the value of the expression as text.
func (p *tab) text(expression string) string {
	p.t.Helper()
	var s string
	p.eval("String("+expression+")", &s)
	return s
}

// until waits until the condition is true, which is looked at many times a second.
func (p *tab) until(condition string) {
	p.t.Helper()
	wait := `new Promise((done) => { const look = () => { if (` + condition + `) done(true); else setTimeout(look, 20) }; look() })`
	var r struct {
		Result           struct{ Value bool }
		ExceptionDetails json.RawMessage
	}
	err := p.call(p.ctx, p.session, "Runtime.evaluate", object{"expression": wait, "awaitPromise": true, "returnByValue": true}, &r)
	if err == nil && r.Result.Value {
		return
	}
	var now struct {
		Result struct{ Value string }
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), 5*time.Second)
	defer cancel()
	p.call(ctx, p.session, "Runtime.evaluate", object{"expression": "document.body.innerText.slice(0, 2000)", "returnByValue": true}, &now)
	p.t.Fatalf("waiting until %s: %v %s\nthe page shows: %s", condition, err, r.ExceptionDetails, now.Result.Value)
}

// click clicks the first element that the selector finds, as a mouse does.
func (p *tab) click(selector string) {
	p.t.Helper()
	var at struct{ X, Y float64 }
	p.eval(`(() => { const e = document.querySelector(`+strconv.Quote(selector)+`); e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect(); return {x: r.x + r.width / 2, y: r.y + r.height / 2} })()`, &at)
	for _, typ := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		p.do("Input.dispatchMouseEvent", object{"type": typ, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
	}
}

// point moves the mouse to a place in the window.
func (p *tab) point(x, y float64) {
	p.t.Helper()
	p.do("Input.dispatchMouseEvent", object{"type": "mouseMoved", "x": x, "y": y}, nil)
}

// key presses and releases a key.
func (p *tab) key(key string, code int, text string) {
	p.t.Helper()
	p.do("Input.dispatchKeyEvent", object{"type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}, nil)
	p.do("Input.dispatchKeyEvent", object{"type": "keyUp", "key": key, "code": key, "windowsVirtualKeyCode": code}, nil)
}

// window sets the size of the window and what the reader prefers.
func (p *tab) window(width, height int, phone bool, scheme string) {
	p.t.Helper()
	p.do("Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}, nil)
	p.do("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// shot takes a picture of the page into the directory that TIDINGS_SHOTS names, or none.
func (p *tab) shot(name string) {
	p.t.Helper()
	dir := os.Getenv("TIDINGS_SHOTS")
	if dir == "" {
		return
	}
	var r struct{ Data string }
	p.do("Page.captureScreenshot", object{"format": "png"}, &r)
	png, err := base64.StdEncoding.DecodeString(r.Data)
	p.check(err)
	p.check(os.MkdirAll(dir, 0o755))
	p.check(os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644))
}

// quiet fails the test if the page has complained; what mentions one of the allowed texts is no complaint.
func (p *tab) quiet(allowed ...string) {
	p.t.Helper()
next:
	for {
		select {
		case line := <-p.console:
			for _, a := range allowed {
				if strings.Contains(line, a) {
					continue next
				}
			}
			p.t.Errorf("the page complains: %.600s", line)
		default:
			return
		}
	}
}

// busy returns how long the processes of the browser have run, as the kernel counts it.
func (b *browser) busy() time.Duration {
	b.t.Helper()
	group, err := syscall.Getpgid(b.pid)
	if err != nil {
		b.t.Fatal(err)
	}
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.t.Fatal(err)
	}
	ticks := 0
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// What follows the name, which may hold anything: state, parent, group, and from the twelfth the times.
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if g, _ := strconv.Atoi(f[2]); g != group {
			continue
		}
		user, _ := strconv.Atoi(f[11])
		system, _ := strconv.Atoi(f[12])
		ticks += user + system
	}
	return time.Duration(ticks) * time.Second / 100
}

// metrics returns figures of the page: DevTools' Performance.getMetrics, whose durations are seconds of the main
// thread's own time.
func (p *tab) metrics() map[string]float64 {
	p.t.Helper()
	p.do("Performance.enable", object{"timeDomain": "threadTicks"}, nil)
	var r struct {
		Metrics []struct {
			Name  string
			Value float64
		}
	}
	p.do("Performance.getMetrics", nil, &r)
	m := map[string]float64{}
	for _, one := range r.Metrics {
		m[one.Name] = one.Value
	}
	return m
}
