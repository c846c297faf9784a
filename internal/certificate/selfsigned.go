package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/net/idna"
)

// organization is by what the server knows a certificate that it has made.
const organization = "Tidings, signed by itself"

const validity = 10 * 365 * 24 * time.Hour

// hostname returns the name as it stands in certificates: in ASCII (RFC 6125 section 6.4.2).
func hostname(name string) (string, error) {
	if net.ParseIP(name) != nil {
		return name, nil
	}
	return idna.Lookup.ToASCII(name)
}

// selfSigned returns a new certificate for the names, localhost and the loopback addresses, and its key, in PEM.
func selfSigned(names []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("certificate: making a key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("certificate: making a serial number: %w", err)
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{organization}},
		NotBefore:    now.Add(-time.Hour), // clocks differ
		NotAfter:     now.Add(validity),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Clients that are given the certificate as an authority want one that says it is.
		IsCA: true, BasicConstraintsValid: true,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, name := range append(slices.Clone(names), "localhost") {
		n, err := hostname(name)
		if err != nil {
			return nil, fmt.Errorf("certificate: the name %q: %w", name, err)
		}
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if !slices.Contains(t.DNSNames, n) {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	t.Subject.CommonName = t.DNSNames[0]
	if len(t.Subject.CommonName) > 64 { // RFC 5280 appendix A.1
		t.Subject.CommonName = "localhost"
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate: signing: %w", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("certificate: writing the key: %w", err)
	}
	var b bytes.Buffer
	for _, block := range []*pem.Block{{Type: "CERTIFICATE", Bytes: der}, {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := pem.Encode(&b, block); err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
	}
	return b.Bytes(), nil
}

// write writes a new certificate into the file, never in part: it is written under another name, then brought to its own.
func write(path string, names []string, bring func(from, to string) error) (err error) {
	content, err := selfSigned(names, time.Now())
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+File+"-*") // with mode 0600
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = bring(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	return nil
}
