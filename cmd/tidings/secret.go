package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
)

// openSecret opens the file that a key such as password_file in [[bridge]] names, and in which what is told in a word, such as
// password. Nobody but its owner may read it.
func openSecret(name, key, word string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, withHint(err, key+" has to name a file that this user may read")
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		err = withHint(fmt.Errorf("%s has mode %04o: others than its owner may use the %s in it", name, info.Mode().Perm(), word), "chmod 600 "+name)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// authorities returns who signs a server's certificate, of the file that tls_ca in the section names.
func authorities(name, section string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, withHint(err, "tls_ca in "+section+" has to name a file that this user may read")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, withHint(fmt.Errorf("%s has no certificate", name), "tls_ca in "+section+" has to name a file of certificates in PEM")
	}
	return roots, nil
}
