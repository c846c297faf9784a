//go:build interop && linux

package xmpppeer

import (
	"errors"
	"os"
	"testing"
)

// TestServers: each server starts with accounts, is killed, comes back, and leaves nothing.
func TestServers(t *testing.T) {
	for name, start := range Starters {
		t.Run(name, func(t *testing.T) {
			s, err := start(t.Context(), Options{
				Accounts: map[string]string{"anna": "secret 1", Owner: "secret 2"}, Components: map[string]string{"news.localhost": "secret 3"},
			})
			if errors.Is(err, ErrNotInstalled) && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			t.Log(s.Name, s.Version)
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := s.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, user := range []string{"anna", Owner} {
				if err := s.Register(t.Context(), user, "secret 5"); err == nil && name == "ejabberd" { // Prosody takes a new password
					t.Errorf("%s has to be registered anew", user)
				}
			}
			if err := s.Register(t.Context(), "bert", "secret 4"); err != nil {
				t.Error(err)
			}
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its directory is left: %v", err)
			}
		})
	}
}
