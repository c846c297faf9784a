package xmpptest

import (
	"fmt"
	"maps"
	"strings"

	"tidings/xmpp/xmlstream"
)

// match reports how an element differs from what a script says; nil if it does not. Variables that it binds are in vars only
// if it matches.
func match(want, got xmlstream.Element, vars map[string]string) error {
	bound := maps.Clone(vars)
	if err := matchElement(want, got, bound); err != nil {
		return err
	}
	maps.Copy(vars, bound)
	return nil
}

func matchElement(want, got xmlstream.Element, vars map[string]string) error {
	at := "<" + want.Name() + ">"
	if want.Name() != got.Name() || want.Space() != got.Space() {
		return fmt.Errorf("%s of %s, want %s of %s", got.Name(), got.Space(), want.Name(), want.Space())
	}
	for a := range want.Attrs() {
		v := got.AttrNS(a.Space, a.Name)
		if a.Space == "" {
			v = got.Attr(a.Name)
			if !got.HasAttr(a.Name) && a.Value != "{{*}}" {
				return fmt.Errorf("%s: no attribute %s", at, a.Name)
			}
		}
		if err := matchText(a.Value, v, vars); err != nil {
			return fmt.Errorf("%s: attribute %s: %w", at, a.Name, err)
		}
	}
	for a := range got.Attrs() {
		if a.Space == "" && !want.HasAttr(a.Name) {
			return fmt.Errorf("%s: attribute %s='%s' is not expected", at, a.Name, a.Value)
		}
	}
	if w, g := strings.TrimSpace(want.Text()), strings.TrimSpace(got.Text()); w != g {
		if err := matchText(w, g, vars); err != nil {
			return fmt.Errorf("%s: text: %w", at, err)
		}
	}
	g, skipping := got.First(), false
	for w := range want.Children() {
		if w.Is("test", "any") {
			skipping = true
			continue
		}
		for ; skipping && !g.IsZero() && matchElement(w, g, maps.Clone(vars)) != nil; g = g.Next() {
		}
		if g.IsZero() {
			return fmt.Errorf("%s: no child %s of %s", at, w.Name(), w.Space())
		}
		if err := matchElement(w, g, vars); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
		g, skipping = g.Next(), false
	}
	if !g.IsZero() && !skipping {
		return fmt.Errorf("%s: child %s is not expected", at, g.Raw())
	}
	return nil
}

// matchText matches a text with placeholders, and binds those that have no value.
func matchText(want, got string, vars map[string]string) error {
	all, w, g := want, want, got
	for {
		before, rest, found := strings.Cut(w, "{{")
		if !found {
			if w != g {
				return fmt.Errorf("%q, want %q", got, all)
			}
			return nil
		}
		name, after, ok := strings.Cut(rest, "}}")
		if !ok || !strings.HasPrefix(g, before) {
			return fmt.Errorf("%q, want %q", got, all)
		}
		g = g[len(before):]
		if v, ok := vars[name]; ok && name != "*" {
			if !strings.HasPrefix(g, v) {
				return fmt.Errorf("%q, want %q with {{%s}} = %q", got, all, name, v)
			}
			g, w = g[len(v):], after
			continue
		}
		// It takes all up to what follows it in the script.
		next, _, _ := strings.Cut(after, "{{")
		end := len(g)
		if next != "" {
			if end = strings.Index(g, next); end < 0 {
				return fmt.Errorf("%q, want %q", got, all)
			}
		}
		if name != "*" {
			if end == 0 {
				return fmt.Errorf("%q has nothing for {{%s}} of %q", got, name, all)
			}
			vars[name] = g[:end]
		}
		g, w = g[end:], after
	}
}

// fill puts the values of variables into a text.
func fill(text string, vars map[string]string, escape bool) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		name, after, ok := strings.Cut(rest, "}}")
		v, known := vars[name]
		if !ok || !known {
			return "", fmt.Errorf("{{%s}} has no value", name)
		}
		if escape {
			v = string(xmlstream.AppendAttr(nil, v))
		}
		b.WriteString(v)
		text = after
	}
}
