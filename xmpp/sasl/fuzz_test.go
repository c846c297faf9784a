package sasl

import (
	"strconv"
	"strings"
	"testing"
)

// FuzzServer sends what nobody checked. Nobody is authenticated by it as anybody but who has the password: the fuzzer does
// not know one.
func FuzzServer(f *testing.F) {
	f.Add(ScramSHA1, []byte("n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"), []byte("c=biws,r=fyko+d2lbbFgONRv9qkxdawLNONCE,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="))
	f.Add(ScramSHA256, []byte("n,a=user@localhost,n=user,r=rOprNGfwEbeRWgbNEkqO"), []byte("c=biws,r=rOprNGfwEbeRWgbNEkqONONCE,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
	f.Add(ScramSHA512, []byte("y,,n=us=2Cer=3D,r=x,ext=1"), []byte("c=eSws,r=xNONCE,ext=2,p=AAAA"))
	f.Add(ScramSHA256, []byte("p=tls-exporter,,n=user,r=x"), []byte(""))
	f.Add(Plain, []byte("user@localhost\x00user\x00pencils"), []byte(""))
	f.Add(Plain, []byte(nil), []byte("\x00user\x00x"))
	f.Add(Anonymous, []byte("sirhc"), []byte(nil))
	f.Fuzz(func(t *testing.T, mechanism string, first, second []byte) {
		s, a := newServer()
		a.passwords = map[string]string{"user": "correct horse battery staple"}
		s.nonce = func() string { return "NONCE" }
		n := s.Negotiate(Conn{TLS: true})
		_, done, err := n.Start(t.Context(), mechanism, first)
		if err == nil && !done {
			_, done, err = n.Next(t.Context(), second)
		}
		if done && (err != nil || !n.Identity().Anonymous()) {
			t.Fatalf("%q %q %q: authenticated as %+v, %v", mechanism, first, second, n.Identity(), err)
		}
		if err != nil && (n.Failures() != 1 || n.Identity() != (Identity{})) {
			t.Fatalf("%v, %d failures, %+v", err, n.Failures(), n.Identity())
		}
		AppendFailure(nil, err)
	})
}

// FuzzClient is a server that says anything: the client takes no success without a proof.
func FuzzClient(f *testing.F) {
	f.Add("NONCE,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
	f.Add(",s=,i=4096,m=x", "e=invalid-proof")
	f.Add("NONCE,s=AAAA,i=99999999999999999999", "v=")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, challenge, success string) {
		c, err := NewClient(ScramSHA256, Credentials{"user", "pencil", ""})
		if err != nil {
			t.Fatal(err)
		}
		_, nonce, _ := strings.Cut(string(c.Initial()), "r=")
		for f := range strings.SplitSeq(challenge, ",") {
			if n, err := strconv.Atoi(strings.TrimPrefix(f, "i=")); err == nil && n > 10*MinIterations {
				t.Skip("right, and slow")
			}
		}
		if _, err := c.Next([]byte("r=" + nonce + challenge)); err != nil {
			return
		}
		if c.Success([]byte(success)) == nil {
			t.Fatalf("%q %q: taken", challenge, success)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, s := range []string{"", "=", "biws", "bg==", "bh==", "bi\nws", "bi-_", "===", "biwsbj11c2VyLHI9ZnlrbytkMmxiYkZnT05Sdjlxa3hkYXdM"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b, err := DecodeInitial(s)
		if err != nil || s == "" {
			return
		}
		// What is let through is written in one way only.
		if got := string(AppendAuth(nil, Plain, b)); got != "<auth xmlns='"+NS+"' mechanism='PLAIN'>"+s+"</auth>" {
			t.Fatalf("%q becomes %s", s, got)
		}
	})
}
