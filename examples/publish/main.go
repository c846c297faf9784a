// Publish publishes each line of its input as an item of a node of any PubSub service, and prints the ids of the items:
//
//	go run ./examples/publish 'xmpp://ann:PASSWORD@localhost/pubsub.localhost?;node=garden' < lines
//
// A line that is JSON is published as that, and any other as text. An item that the service has not acknowledged because the
// connection broke is sent again, with the same id.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"

	"tidings"
	"tidings/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 2 {
		log.Fatal("usage: publish 'xmpp://USER:PASSWORD@HOST/SERVICE?;node=NODE'")
	}
	if err := run(ctx, os.Args[1], os.Stdin, os.Stdout); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

// run publishes until the input ends or the service refuses an item.
func run(ctx context.Context, node string, in io.Reader, out io.Writer) error {
	c, err := client.New(node)
	if err != nil {
		return err
	}
	defer c.Close()
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		p := client.Publication{ContentType: "text/plain; charset=utf-8", Payload: lines.Bytes()}
		if json.Valid(p.Payload) {
			p.ContentType = "application/json"
		}
		r, err := c.Publish(ctx, "", p) // on the node of the address
		if errors.Is(err, tidings.ErrForbidden) {
			return fmt.Errorf("only who owns the node, or is its publisher, may do that: %w", err)
		}
		if err != nil {
			return err
		}
		fmt.Fprintln(out, r.ID)
	}
	return lines.Err()
}
