//go:build linux

// Start runs one of the XMPP servers of package xmpppeer until it is interrupted, to try things by hand:
//
//	go run ./interop/xmpppeer/start prosody anna=secret owner=secret component:news.localhost=secret
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"tidings/interop/xmpppeer"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || xmpppeer.Starters[args[0]] == nil {
		return fmt.Errorf("usage: start prosody|ejabberd {USER=PASSWORD | component:DOMAIN=SECRET}")
	}
	o := xmpppeer.Options{Accounts: map[string]string{}, Components: map[string]string{}}
	for _, arg := range args[1:] {
		name, secret, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not USER=PASSWORD", arg)
		}
		if domain, ok := strings.CutPrefix(name, "component:"); ok {
			o.Components[domain] = secret
		} else {
			o.Accounts[name] = secret
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	s, err := xmpppeer.Starters[args[0]](ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s pid=%d c2s=%s tls=%s websocket=%s component=%s dir=%s\n", s.Name, s.Version, s.PID(), s.C2S, s.DirectTLS, s.WebSocket, s.Component, s.Dir)
	<-ctx.Done()
	return s.Stop()
}
