package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"tidings"
	"tidings/client"
	"tidings/config"
	"tidings/journal"
	"tidings/xmpp/account"
)

// journalOptions are those of the journal that the configuration describes.
func journalOptions(cfg config.Config, log *slog.Logger) journal.Options {
	o := journal.Options{
		Dir: cfg.Data, URL: cfg.NATSURL, Replicas: cfg.Replicas, Durability: cfg.Durability, SyncInterval: time.Duration(cfg.SyncInterval),
		DedupeWindow: time.Duration(cfg.DedupeWindow), MaxPayload: int(cfg.HTTP.MaxBody), Retention: retention(cfg), Log: log,
	}
	if o.URL != "" {
		o.Dir = ""
	}
	return o
}

// openAccounts opens the accounts in the journal's registry.
func openAccounts(ctx context.Context, j journal.Journal, cfg config.Config, log *slog.Logger) (*account.Accounts, error) {
	bucket, err := j.Bucket(ctx, "accounts")
	if err != nil {
		return nil, err
	}
	return account.Open(ctx, bucket, account.Options{Iterations: cfg.XMPP.ScramIterations, Log: log})
}

// users are the accounts with errors of this program's kinds.
type users struct{ accounts *account.Accounts }

func (u users) Add(ctx context.Context, name, password string) error {
	return accountError(u.accounts.Add(ctx, name, password), name)
}

func (u users) SetPassword(ctx context.Context, name, password string) error {
	return accountError(u.accounts.SetPassword(ctx, name, password), name)
}

func (u users) Delete(ctx context.Context, name string) error {
	return accountError(u.accounts.Delete(ctx, name), name)
}

func (u users) Lookup(name string) (prepared string, created, changed time.Time, ok bool) {
	i, ok := u.accounts.Lookup(name)
	return i.Name, i.Created, i.Changed, ok
}

func (u users) Each(f func(name string, created, changed time.Time)) {
	for _, i := range u.accounts.List() {
		f(i.Name, i.Created, i.Changed)
	}
}

// accountError gives an error of the accounts its kind.
func accountError(err error, name string) error {
	if len(name) > 80 {
		name = strings.ToValidUTF8(name[:80], "") + "…"
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, account.ErrExists):
		return tidings.Errorf(tidings.ErrConflict, "there is an account %q already", name)
	case errors.Is(err, account.ErrNotFound):
		return tidings.Errorf(tidings.ErrNotFound, "there is no account %q", name)
	case errors.Is(err, account.ErrName), errors.Is(err, account.ErrPassword):
		return tidings.Errorf(tidings.ErrInvalid, "%s", strings.TrimPrefix(err.Error(), "account: "))
	case tidings.KindOf(err) == 0 && !errors.Is(err, context.Canceled):
		return tidings.Errorf(tidings.ErrUnavailable, "%w", err)
	}
	return err
}

// directory is what client.Client is for accounts, on a data directory that no server has open.
type directory struct{ users }

func (d directory) Users(context.Context) (list []client.User, err error) {
	d.Each(func(name string, created, changed time.Time) {
		list = append(list, client.User{Name: name, Created: created, Changed: changed})
	})
	return list, nil
}

func (d directory) AddUser(ctx context.Context, name, password string) (client.User, error) {
	if err := d.Add(ctx, name, password); err != nil {
		return client.User{}, err
	}
	name, created, changed, _ := d.Lookup(name)
	return client.User{Name: name, Created: created, Changed: changed}, nil
}

func (d directory) RemoveUser(ctx context.Context, name string) error { return d.Delete(ctx, name) }
