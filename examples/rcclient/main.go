// Rcclient prints the changes of a wiki as a room of an XMPP server tells them, or a node of its PubSub service, one a line, as
// the client of the XMLRC extension did:
//
//	go run ./examples/rcclient xmpp://localhost/en.wikipedia.org@conference.localhost
//	go run ./examples/rcclient 'xmpp://localhost/pubsub.localhost?;node=/recentchange/*.wikipedia.org'
//
// The fields are rcid, timestamp, type, namespace, title, revision, user, sizes, flags and comment, parted by tabs. It goes on
// by itself when the connection was lost, and says on stderr what is lost for good.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"time"

	"tidings"
	"tidings/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		log.Fatal("usage: rcclient 'xmpp://HOST/ROOM@DOMAIN' or 'xmpp://HOST/SERVICE?;node=NODE'")
	}
	if err := run(ctx, os.Args[1], os.Stdout, os.Stderr); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// run prints changes until ctx ends or nothing can be read any more.
func run(ctx context.Context, address string, out, errs io.Writer) error {
	c, err := client.New(address)
	if err != nil {
		return err
	}
	for e, err := range c.Events(ctx, nil, client.Live) {
		if errors.Is(err, tidings.ErrGap) {
			fmt.Fprintln(errs, err)
		} else if err != nil {
			return err
		} else if rc, ok := e.RecentChange(); ok {
			fmt.Fprintf(out, "%d\t%s\t%s\t%d\t%s\t%d\t%s\t%d>%d\t%s\t%s\n", rc.ID, rc.Time.Format(time.RFC3339), rc.Type, rc.Namespace,
				rc.Title, rc.Revision, rc.User, rc.OldLength, rc.Length, rc.Flags(), strings.ReplaceAll(rc.Comment, "\n", " "))
		}
	}
	return nil
}
