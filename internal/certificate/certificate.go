// Package certificate provides the TLS certificate of a listener: the operator's, or one that the server makes for itself.
// Either is read again when its files change, without a restart.
package certificate

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Soon is how long before a certificate expires it is warned of, once a day.
	Soon = 14 * 24 * time.Hour
	// checkInterval is how often handshakes look whether the files have changed.
	checkInterval = 10 * time.Second
	warnInterval  = 24 * time.Hour
)

// Source is a certificate that is kept up to date. Its methods may be called from many goroutines.
type Source struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	seen    [2]stamp  // of the files that cert was read from, or could not be read from
	checked time.Time // when the files were last looked at
	warned  time.Time // when the expiry was last warned of
}

// stamp is how a file is known to have changed: a renewal writes a new one.
type stamp struct {
	modified time.Time
	size     int64
}

// Open returns the certificate in two PEM files, which may be one and the same. The first has the certificate and then those
// that lead to its authority. A nil log is slog.Default().
func Open(certFile, keyFile string, log *slog.Logger) (*Source, error) {
	if log == nil {
		log = slog.Default()
	}
	s := &Source{certFile: certFile, keyFile: keyFile, log: log}
	now := time.Now()
	s.checked = now
	if err := s.read(); err != nil {
		return nil, err
	}
	s.warn(now)
	return s, nil
}

// Certificate returns what to show in handshakes: it is for GetCertificate of a tls.Config. Where the files have changed it
// reads them again; if they cannot be read the certificate stays as it was, and the log says so.
func (s *Source) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.checked) >= checkInterval {
		s.checked = now
		if seen := s.stat(); seen != s.seen {
			if err := s.read(); err != nil {
				s.log.Warn("certificate: goes on with the one it has", "err", err, "expires", s.cert.Leaf.NotAfter)
			} else {
				s.warned = time.Time{}
				s.log.Info("certificate: read a new one", "file", s.certFile, "expires", s.cert.Leaf.NotAfter)
			}
		}
		s.warn(now)
	}
	return s.cert, nil
}

// Config returns a configuration of TLS 1.2 and later with the certificate.
func (s *Source) Config() *tls.Config {
	return &tls.Config{GetCertificate: s.Certificate, MinVersion: tls.VersionTLS12}
}

// Expires returns when the certificate ends.
func (s *Source) Expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert.Leaf.NotAfter
}

func (s *Source) stat() (seen [2]stamp) {
	for i, name := range []string{s.certFile, s.keyFile} {
		if info, err := os.Stat(name); err == nil {
			seen[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return seen
}

// read reads the files. The caller holds mu, as for warn, or is the only one.
func (s *Source) read() error {
	s.seen = s.stat() // before reading: what changes meanwhile is read again
	cert, err := load(s.certFile, s.keyFile)
	if err != nil {
		return err
	}
	s.cert = cert
	return nil
}

func (s *Source) warn(now time.Time) {
	left := s.cert.Leaf.NotAfter.Sub(now)
	if left > Soon || !s.warned.IsZero() && now.Sub(s.warned) < warnInterval {
		return
	}
	s.warned = now
	what := "certificate: expires soon"
	if left <= 0 {
		what = "certificate: has expired: clients refuse it"
	}
	s.log.Warn(what, "file", s.certFile, "expires", s.cert.Leaf.NotAfter)
}

func load(certFile, keyFile string) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate: %s and %s: %s", certFile, keyFile, strings.TrimPrefix(err.Error(), "tls: "))
	}
	return &cert, nil // with its Leaf, since Go 1.23
}

// File is the name of the file in the data directory that has the certificate a server has made for itself, and its key.
const File = "certificate.pem"

// OpenSelfSigned returns the certificate in File of the directory and makes both where they do not exist: the file with mode
// 0600, whole or not at all. The certificate is valid for the names and for those by which only this machine is reached, for
// ten years: clients that have been told to trust it should not be told again. One that the server has made and that expires
// soon, or lacks one of the names, is made anew. One that an operator has put there is taken as it is.
func OpenSelfSigned(dir string, names []string, log *slog.Logger) (*Source, error) {
	if log == nil {
		log = slog.Default()
	}
	path := filepath.Join(dir, File)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("certificate: making the data directory: %w", err)
		}
		// Another process may have been first; what is in the file is the certificate.
		if err := write(path, names, os.Link); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		log.Info("certificate: made one that is signed by itself", "file", path, "names", names)
	case err != nil:
		return nil, fmt.Errorf("certificate: %w", err)
	case info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows":
		return nil, fmt.Errorf("certificate: %s has mode %04o: others than its owner may use the key in it (hint: chmod 600 %s; if somebody may have read it, remove it and restart for a new one)", path, info.Mode().Perm(), path)
	default:
		cert, err := load(path, path)
		if err != nil {
			return nil, fmt.Errorf("%w (hint: remove %s, and the next start makes a new one)", err, path)
		}
		if why := outdated(cert.Leaf, names, time.Now()); why != "" {
			if err := write(path, names, os.Rename); err != nil {
				return nil, err
			}
			log.Warn("certificate: made a new one that is signed by itself: clients that trust the old one have to be told", "reason", why, "file", path, "names", names)
		}
	}
	return Open(path, path, log)
}

// outdated returns why a certificate is to be made anew, or "".
func outdated(leaf *x509.Certificate, names []string, now time.Time) string {
	if !slices.Equal(leaf.Subject.Organization, []string{organization}) || leaf.CheckSignatureFrom(leaf) != nil {
		return "" // not ours
	}
	if leaf.NotAfter.Sub(now) <= Soon {
		return "expires"
	}
	for _, name := range names {
		if n, err := hostname(name); err != nil || leaf.VerifyHostname(n) != nil {
			return "does not have " + name
		}
	}
	return ""
}
