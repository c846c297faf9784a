package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"tidings"
	"tidings/client"
)

// asking are the flags of the commands that ask a server and print a table or JSON.
type asking struct {
	target
	format choice
}

// parseAsking parses the flags that those commands have in common, and those that more adds.
func parseAsking(command string, admin bool, args []string, more ...func(*flag.FlagSet)) (*asking, *client.Client, []string, error) {
	a := &asking{format: choice{"table", []string{"table", "json"}}}
	fs := newFlags(command)
	a.flags(fs, admin)
	fs.Var(&a.format, "format", "")
	for _, f := range more {
		f(fs)
	}
	operands, err := parse(fs, args)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := a.client(command)
	return a, c, operands, err
}

// print prints v as JSON if that is wanted, and calls table otherwise.
func (a *asking) print(w io.Writer, v any, table func(w io.Writer)) error {
	if a.format.value == "json" {
		e := json.NewEncoder(w)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(tw)
	return tw.Flush()
}

// topics lists the topics.
func topics(ctx context.Context, args []string, std stdio) error {
	a, c, operands, err := parseAsking("topics", false, args)
	if err != nil {
		return err
	}
	var match tidings.Pattern
	switch len(operands) {
	case 0:
	case 1:
		if match, err = tidings.ParsePattern(operands[0]); err != nil {
			return usageError{"topics", err}
		}
	default:
		return usagef("topics", "want one PATTERN; the shell may have replaced it: put it in quotes")
	}
	list, err := c.Topics(ctx, match)
	if err != nil {
		return a.explain(err)
	}
	if list == nil {
		list = []client.TopicInfo{}
	}
	return a.print(std.out, list, func(w io.Writer) {
		fmt.Fprintln(w, "EVENTS\tTOPIC")
		for _, t := range list {
			fmt.Fprintf(w, "%d\t%s\n", t.Events, printable(string(t.Topic)))
		}
	})
}

// status shows the server's figures.
func status(ctx context.Context, args []string, std stdio) error {
	a, c, operands, err := parseAsking("status", false, args)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usagef("status", "it takes no operands")
	}
	figures, err := c.Status(ctx)
	if err != nil {
		return a.explain(err)
	}
	return a.print(std.out, figures, func(w io.Writer) {
		d := json.NewDecoder(bytes.NewReader(figures))
		d.UseNumber()
		flatten(w, d, "")
	})
}

// flatten writes the next value as lines of a dotted path and a value, in the order in which the server has them.
func flatten(w io.Writer, d *json.Decoder, path string) {
	tok, err := d.Token()
	if err != nil { // not reached: the figures are valid JSON
		return
	}
	child := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch tok {
	case json.Delim('{'):
		for d.More() {
			if name, err := d.Token(); err == nil {
				flatten(w, d, child(fmt.Sprint(name)))
			}
		}
		_, _ = d.Token() // }
	case json.Delim('['):
		for i := 0; d.More(); i++ {
			flatten(w, d, child(fmt.Sprint(i)))
		}
		_, _ = d.Token() // ]
	case nil:
		fmt.Fprintf(w, "%s\t-\n", printable(path))
	default:
		if n, ok := tok.(json.Number); ok && strings.ContainsAny(n.String(), ".eE") {
			if f, err := n.Float64(); err == nil {
				tok = strconv.FormatFloat(f, 'g', 6, 64)
			}
		}
		fmt.Fprintf(w, "%s\t%s\n", printable(path), printable(fmt.Sprint(tok)))
	}
}

// token creates, lists and revokes tokens.
func token(ctx context.Context, args []string, std stdio) error {
	var ttl time.Duration
	a, c, operands, err := parseAsking("token", true, args, func(fs *flag.FlagSet) { fs.DurationVar(&ttl, "ttl", 0, "") })
	if err != nil {
		return err
	}
	if len(operands) == 0 {
		return usagef("token", "want create, list or revoke")
	}
	verb, operands := operands[0], operands[1:]
	switch verb {
	case "create":
		if len(operands) < 2 {
			return withHint(usagef("token", "want a NAME and at least one SCOPE"), "tidings token create NAME 'publish:/TOPIC/**'")
		}
		for _, s := range operands[1:] {
			action, pattern, ok := strings.Cut(s, ":")
			if !ok || !slices.Contains([]tidings.Action{tidings.ReadAction, tidings.PublishAction, tidings.AdminAction}, tidings.Action(action)) {
				return usagef("token", "%q is not a scope: want read, publish or admin, a colon and a pattern, such as publish:/news/**", s)
			}
			if _, err := tidings.ParsePattern(pattern); err != nil {
				return usageError{"token", err}
			}
		}
		t, err := c.CreateToken(ctx, operands[0], ttl, operands[1:]...)
		if err != nil {
			return a.explain(err)
		}
		if a.format.value == "json" {
			return a.print(std.out, t, nil)
		}
		fmt.Fprintf(std.err, "tidings: token %s may %s; it is not shown again\n", printable(t.ID), printable(strings.Join(t.Scopes, " ")))
		_, err = fmt.Fprintln(std.out, t.Secret)
		return err
	case "list":
		if len(operands) > 0 {
			return usagef("token", "list takes no operands")
		}
		list, err := c.Tokens(ctx)
		if err != nil {
			return a.explain(err)
		}
		if list == nil {
			list = []client.Token{}
		}
		return a.print(std.out, list, func(w io.Writer) {
			fmt.Fprintln(w, "ID\tNAME\tCREATED\tEXPIRES\tSCOPES")
			for _, t := range list {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(t.ID), printable(t.Name), day(t.Created, "-"), day(t.Expires, "never"), printable(strings.Join(t.Scopes, " ")))
			}
		})
	case "revoke":
		if len(operands) == 0 {
			return withHint(usagef("token", "want the ID of a token"), "tidings token list")
		}
		for _, id := range operands {
			if err := c.RevokeToken(ctx, id); err != nil {
				if tidings.KindOf(err) == tidings.ErrNotFound {
					return withHint(err, "tidings token list")
				}
				return a.explain(err)
			}
			fmt.Fprintf(std.err, "tidings: token %s is revoked\n", printable(id))
		}
		return nil
	}
	return usagef("token", "there is no command \"token %s\": want create, list or revoke", verb)
}

// day returns a time for a table.
func day(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.Local().Format(time.DateTime)
}

// version prints what was built, and from what.
func version(_ context.Context, args []string, std stdio) error {
	if operands, err := parse(newFlags("version"), args); err != nil {
		return err
	} else if len(operands) > 0 {
		return usagef("version", "it takes no operands")
	}
	_, err := fmt.Fprintf(std.out, "tidings %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// versionText returns the module's version and the commit it was built from, where the build knows them.
func versionText() string {
	v, commit, modified := "(devel)", "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision":
				commit = " commit " + s.Value[:min(12, len(s.Value))]
			case s.Key == "vcs.modified" && s.Value == "true":
				modified = " modified"
			}
		}
	}
	return v + commit + modified
}
