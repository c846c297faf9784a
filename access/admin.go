package access

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"tidings"
)

// AdminFile is the name of the file in the data directory that has the admin token.
const AdminFile = "admin.token"

// adminID names the actor that bears the admin token; it is too short for the id of another token.
const adminID = "admin"

var adminScopes = []tidings.Scope{{Action: tidings.AdminAction, Pattern: tidings.MustPattern("/**")}}

func (p *Policy) isAdmin(bearer string) bool {
	return p.admin != (digest{}) && p.admin.equal(digestOf(bearer))
}

// AdminToken returns the admin token in the file AdminFile of the directory and makes both where they do not exist: the
// file with mode 0600, whole or not at all. A file that others than its owner may read is refused; so is one whose
// content is not a token (RFC 6750 section 2.1: letters, digits and -._~+/=) of at least 32 characters. An administrator
// may write one of their own.
func AdminToken(dir string) (token string, err error) {
	path := filepath.Join(dir, AdminFile)
	token, err = readAdmin(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return token, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("access: making the data directory: %w", err)
	}
	if err := writeAdmin(dir, path, TokenPrefix+adminID+"_"+random(secretChars)); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("access: writing the admin token: %w", err)
	}
	// Another process may have been first; what is in the file is the token.
	return readAdmin(path)
}

func readAdmin(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("access: reading the admin token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("access: reading the admin token: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return "", fmt.Errorf("access: %s has mode %04o: others than its owner may use the admin token (hint: chmod 600 %s; if somebody may have read it, remove it and restart for a new one)", path, mode, path)
	}
	b, err := io.ReadAll(io.LimitReader(f, 4097))
	if err != nil {
		return "", fmt.Errorf("access: reading the admin token: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if len(token) < 32 || len(b) > 4096 || strings.ContainsFunc(token, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._~+/=", r))
	}) {
		return "", fmt.Errorf("access: %s is not a token of 32 to 4096 letters, digits and -._~+/= (hint: remove it, and the next start makes a new one)", path)
	}
	return token, nil
}

// writeAdmin writes the file unless it exists, and never in part: it is written under another name, then linked.
func writeAdmin(dir, path, token string) (err error) {
	f, err := os.CreateTemp(dir, "."+AdminFile+"-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(token + "\n")
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}
