package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"tidings"
	"tidings/access"
	"tidings/client"
	"tidings/config"
	"tidings/journal"
)

// userCommand is one call of tidings user.
type userCommand struct {
	asking
	std          stdio
	config       config.Config
	client       *client.Client
	passwordFile string
}

// accountsOf are the accounts of a server, asked over HTTP or in its data directory.
type accountsOf interface {
	Users(ctx context.Context) ([]client.User, error)
	AddUser(ctx context.Context, name, password string) (client.User, error)
	SetPassword(ctx context.Context, name, password string) error
	RemoveUser(ctx context.Context, name string) error
}

// user adds, changes, removes and lists the accounts of the XMPP server.
func user(ctx context.Context, args []string, std stdio) error {
	u := &userCommand{asking: asking{format: choice{"table", []string{"table", "json"}}}, std: std}
	fs := newFlags("user")
	u.flags(fs, true)
	fs.Var(&u.format, "format", "")
	fs.StringVar(&u.passwordFile, "password-file", "", "")
	file := fs.String("config", "", "")
	operands, err := parse(fs, args)
	if err != nil {
		return err
	}
	if len(operands) == 0 {
		return usagef("user", "want add, passwd, del or list")
	}
	verb, names := operands[0], operands[1:]
	if err := checkUserOperands(verb, names); err != nil {
		return err
	}
	if u.config, err = loadConfig(*file); err != nil {
		return err
	}
	given := false
	fs.Visit(func(f *flag.Flag) { given = given || f.Name == "data" })
	if given {
		u.config.Data = u.data
	} else {
		u.data = u.config.Data
	}
	if err := u.config.Validate(); err != nil {
		return err
	}
	if u.client, err = u.target.client("user"); err != nil {
		return err
	}
	switch verb {
	case "add":
		return u.withPassword(ctx, func(accounts accountsOf, password string) error {
			added, err := accounts.AddUser(ctx, names[0], password)
			if tidings.KindOf(err) == tidings.ErrConflict {
				return withHint(err, "tidings user passwd "+names[0])
			}
			if err == nil && u.format.value == "json" {
				return u.print(std.out, added, nil)
			}
			return u.say(err, "added %s", added.Name)
		})
	case "passwd":
		return u.withPassword(ctx, func(accounts accountsOf, password string) error {
			return u.say(accounts.SetPassword(ctx, names[0], password), "%s has another password", names[0])
		})
	case "del":
		return u.on(ctx, func(accounts accountsOf) error {
			for _, name := range names {
				if err := u.say(accounts.RemoveUser(ctx, name), "%s is removed", name); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return u.on(ctx, func(accounts accountsOf) error { return u.list(ctx, accounts) })
}

func checkUserOperands(verb string, names []string) error {
	switch {
	case !slices.Contains([]string{"add", "passwd", "del", "list"}, verb):
		return usagef("user", "there is no command \"user %s\": want add, passwd, del or list", verb)
	case verb == "list" && len(names) > 0:
		return usagef("user", "list takes no operands")
	case verb == "list":
		return nil
	case len(names) == 0:
		return withHint(usagef("user", "want the NAME of an account, the part of its address before the @"), "tidings user "+verb+" NAME")
	case verb != "del" && len(names) > 1:
		return withHint(usagef("user", "%s takes a NAME and nothing else: others on this machine could see a password here", verb), "tidings user "+verb+" "+names[0])
	}
	for _, name := range names {
		if local, _, ok := strings.Cut(name, "@"); ok {
			return withHint(usagef("user", "%q has a domain: the accounts are all in that of the server", name), "tidings user "+verb+" "+local)
		}
	}
	return nil
}

// say reports what was done, or adds a hint to the error.
func (u *userCommand) say(err error, format, name string) error {
	if tidings.KindOf(err) == tidings.ErrNotFound {
		return withHint(err, "tidings user list")
	}
	if err == nil {
		fmt.Fprintf(u.std.err, "tidings: "+format+"\n", printable(name))
	}
	return err
}

func (u *userCommand) list(ctx context.Context, accounts accountsOf) error {
	list, err := accounts.Users(ctx)
	if err != nil {
		return err
	}
	if list == nil {
		list = []client.User{}
	}
	return u.print(u.std.out, list, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tCREATED\tPASSWORD SET")
		for _, a := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\n", printable(a.Name), day(a.Created, "-"), day(a.Changed, "-"))
		}
	})
}

// withPassword asks for the password before anything else: if there is none, nothing is done.
func (u *userCommand) withPassword(ctx context.Context, f func(accounts accountsOf, password string) error) error {
	if s, err := url.Parse(u.url); err == nil && s.Scheme != "https" && !isLoopback(u.url) {
		return withHint(fmt.Errorf("the password would go to %s in the clear", s.Host), "use https, or run this on the machine of the server")
	}
	password, err := readPassword(ctx, u.std, u.passwordFile)
	if err != nil {
		return err
	}
	return u.on(ctx, func(accounts accountsOf) error { return f(accounts, password) })
}

// on does something with the accounts of the running server or, if none runs, with those in its data directory.
func (u *userCommand) on(ctx context.Context, f func(accounts accountsOf) error) error {
	err := f(u.client)
	if !u.isDown(err) {
		return u.explain(err)
	}
	j, openErr := journal.OpenJetStream(ctx, journalOptions(u.config, slog.New(slog.DiscardHandler)))
	if tidings.KindOf(openErr) == tidings.ErrConflict {
		return withHint(fmt.Errorf("nothing answers at %s, and a server has %s open", u.url, u.data), "name the address of that server, with --server URL")
	}
	if openErr != nil {
		return openErr
	}
	defer j.Close() // what was changed is stored already
	accounts, err := openAccounts(ctx, j, u.config, slog.New(slog.NewTextHandler(u.std.err, nil)))
	if err != nil {
		return err
	}
	defer accounts.Close()
	fmt.Fprintf(u.std.err, "tidings: no server runs at %s: using the accounts in %s\n", u.url, u.data)
	return f(directory{users{accounts}})
}

// isDown reports whether the error says that no server runs on this machine, and there is a data directory that one has used.
func (u *userCommand) isDown(err error) bool {
	if !errors.Is(err, syscall.ECONNREFUSED) || !isLoopback(u.url) {
		return false
	}
	_, err = os.Stat(filepath.Join(u.data, access.AdminFile))
	return err == nil
}
