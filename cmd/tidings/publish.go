package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"tidings"
	"tidings/client"
)

// publishAttempts is fewer than the library's: a person is waiting.
const publishAttempts = 3

// publish sends one event, or one for each line.
func publish(ctx context.Context, args []string, std stdio) error {
	fs := newFlags("publish")
	var srv target
	srv.flags(fs, true)
	var p client.Publication
	fs.StringVar(&p.ContentType, "type", "", "")
	fs.StringVar(&p.ID, "id", "", "")
	fs.StringVar(&p.Key, "key", "", "")
	lines := fs.Bool("lines", false, "")
	var xmpp xmppFlags
	xmpp.flags(fs)
	var options list
	fs.Var(&options, "option", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) == 0 || len(operands) > 2 {
		return usagef("publish", "want TOPIC and DATA, which needs quotes if it has blanks; %d operands are given", len(operands))
	}
	data := "-"
	if len(operands) == 2 {
		data = operands[1]
	}
	if *lines && (p.ID != "" || p.Key != "") {
		return usagef("publish", "--lines makes many events: --id and --key are for one")
	}
	var c *client.Client
	var topic tidings.Topic
	explain := srv.explain
	if isXMPP(operands[0]) {
		a, err := xmpp.parse(ctx, "publish", operands[0])
		if err != nil {
			return err
		}
		if c, err = openNode(a); err != nil {
			return err
		}
		defer c.Close() // what was published has been acknowledged
		explain = a.explain
		for _, o := range options {
			name, value, ok := strings.Cut(o, "=")
			if !ok || name == "" {
				return usagef("publish", "--option %s: want FIELD=VALUE, such as access_model=open", o)
			}
			if p.Options == nil {
				p.Options = map[string]string{}
			}
			p.Options[name] = value
		}
	} else {
		if xmpp != (xmppFlags{}) || len(options) > 0 {
			return usagef("publish", "--node, --option and --password-file are for xmpp://…")
		}
		if topic, err = tidings.ParseTopic(operands[0]); err != nil {
			return usageError{"publish", err}
		}
		if c, err = srv.client("publish", client.WithAttempts(publishAttempts)); err != nil {
			return err
		}
	}
	in, err := openData(data, std.in)
	if err != nil {
		return err
	}
	defer in.Close()
	send := func(payload []byte) error {
		p := p
		p.Payload = payload
		if p.ContentType == "" {
			if p.ContentType, err = guessType(payload); err != nil {
				return err
			}
		}
		r, err := c.Publish(ctx, topic, p)
		if err != nil {
			return explain(err)
		}
		if r.Duplicate {
			fmt.Fprintln(std.err, "tidings: it was published before and is not stored again")
		}
		name := r.ID // PubSub tells no position
		if !r.Position.IsZero() {
			name = r.Position.String()
		}
		_, err = fmt.Fprintln(std.out, name)
		return err
	}
	if *lines {
		return eachLine(in, send)
	}
	payload, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("reading the data: %w", err)
	}
	return send(payload)
}

// openNode returns a client that publishes on the node.
func openNode(a *xmppAddress) (*client.Client, error) {
	switch {
	case strings.Contains(a.service, "@") && a.node == "":
		return nil, withHint(usagef("publish", "%s is the address of a room, and rooms are read-only", describe(a.url)), "tidings publish --node /TOPIC "+a.example("")+" DATA")
	case a.node == "":
		return nil, withHint(usagef("publish", "%s names no node", describe(a.url)), "tidings publish --node /TOPIC "+a.example(strings.TrimSuffix("/"+a.service, "/"))+" DATA")
	}
	c, err := client.New(a.text, client.WithAttempts(publishAttempts))
	if err != nil {
		return nil, usageError{"publish", err}
	}
	return c, nil
}

// openData opens what DATA names: stdin, a file, or the text itself.
func openData(data string, stdin io.Reader) (io.ReadCloser, error) {
	if data == "-" {
		return io.NopCloser(stdin), nil
	}
	if name, ok := strings.CutPrefix(data, "@"); ok {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, withHint(err, "to publish a text that begins with @: printf %s '"+data+"' | tidings publish TOPIC -")
		}
		return f, err
	}
	return io.NopCloser(strings.NewReader(data)), nil
}

// guessType returns the media type of a payload that came without.
func guessType(payload []byte) (string, error) {
	switch {
	case json.Valid(payload):
		return "application/json", nil
	case utf8.Valid(payload):
		return "text/plain; charset=utf-8", nil
	}
	return "", withHint(errors.New("the data is not text: say with --type what it is"), "file --mime-type FILE")
}

// maxLineBytes bounds a line of --lines.
const maxLineBytes = 16 << 20

// eachLine calls f for every line that is not blank, and stops where it fails.
func eachLine(in io.Reader, f func([]byte) error) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, maxLineBytes)
	for n := 1; s.Scan(); n++ {
		line := bytes.TrimRight(s.Bytes(), "\r")
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := f(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("reading the lines: %w", err)
	}
	return nil
}
