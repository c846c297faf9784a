package sasl

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

// Credentials are what a client authenticates with. Without a user name it is anonymous.
type Credentials struct {
	Username string // a localpart
	Password string
	Authzid  string // the bare JID to act for; usually empty
}

// preference is the order in which a client chooses; PLAIN and ANONYMOUS are looked at apart.
var preference = []string{ScramSHA512, ScramSHA256, ScramSHA1}

// Choose returns the strongest of the offered mechanisms that the credentials are for, or "". PLAIN is chosen only if the
// stream is encrypted, and only where no SCRAM is offered.
func (c Credentials) Choose(offered []string, tls bool) string {
	if c.Username == "" {
		if slices.Contains(offered, Anonymous) {
			return Anonymous
		}
		return ""
	}
	for _, m := range preference {
		if slices.Contains(offered, m) {
			return m
		}
	}
	if tls && slices.Contains(offered, Plain) {
		return Plain
	}
	return ""
}

// Client is a client's side of one attempt. It is used by one goroutine: Initial goes with <auth/>, then Next is called for
// each <challenge/>, and Success for <success/>, which is not one until Success has returned nil.
type Client struct {
	mechanism string
	initial   []byte
	conv      *scram.ClientConversation // nil unless it is SCRAM
}

// NewClient returns a client for one of the mechanisms. It is an error if that is not known, or if the password cannot be one
// (RFC 8265 section 4).
func NewClient(mechanism string, c Credentials) (*Client, error) {
	if hashOf(mechanism) == 0 && mechanism != Plain && mechanism != Anonymous {
		return nil, fmt.Errorf("sasl: the mechanism %.40q is not known", mechanism)
	}
	client := &Client{mechanism: mechanism, initial: []byte{}}
	if mechanism == Anonymous {
		return client, nil
	}
	password, err := PreparePassword(c.Password)
	if err != nil || len(c.Password) > MaxPassword {
		return nil, errors.New("sasl: the password is empty, too long or has a character that none may have")
	}
	if strings.ContainsRune(c.Username+c.Authzid, 0) || c.Username == "" {
		return nil, errors.New("sasl: the user name is empty or has a NUL")
	}
	if mechanism == Plain {
		client.initial = []byte(c.Authzid + "\x00" + c.Username + "\x00" + password)
		return client, nil
	}
	sc, err := scram.HashGeneratorFcn(hashOf(mechanism).new()).NewClientUnprepped(c.Username, password, c.Authzid)
	if err != nil {
		return nil, fmt.Errorf("sasl: %w", err)
	}
	client.conv = sc.WithMinIterations(MinIterations).NewConversation()
	first, err := client.conv.Step("")
	if err != nil {
		return nil, fmt.Errorf("sasl: %w", err)
	}
	client.initial = []byte(first)
	return client, nil
}

// Mechanism returns the mechanism's name.
func (c *Client) Mechanism() string { return c.mechanism }

// Initial returns the initial response, which may be of no length but is always there.
func (c *Client) Initial() []byte { return c.initial }

// Next returns the response to a challenge. It is an error if the server breaks the mechanism's rules, or asks for fewer
// iterations than MinIterations or more than MaxIterations; the client then sends <abort/>.
func (c *Client) Next(challenge []byte) (response []byte, err error) {
	if c.conv == nil {
		return nil, fmt.Errorf("sasl: the server challenges %s, which has no challenge", c.mechanism)
	}
	if len(challenge) > MaxMessage || !isText(challenge) {
		return nil, errors.New("sasl: the challenge is too long or not text")
	}
	if err := checkIterations(string(challenge)); err != nil {
		return nil, err
	}
	s, err := c.conv.Step(string(challenge))
	if err != nil {
		return nil, fmt.Errorf("sasl: %s: %w", c.mechanism, err)
	}
	return []byte(s), nil
}

// checkIterations refuses a server-first-message that would keep the client busy for long.
func checkIterations(challenge string) error {
	for f := range strings.SplitSeq(challenge, ",") {
		if n, ok := strings.CutPrefix(f, "i="); ok {
			if i, err := strconv.Atoi(n); err == nil && i > MaxIterations {
				return fmt.Errorf("sasl: the server asks for %d iterations; %d are the most", i, MaxIterations)
			}
		}
	}
	return nil
}

// Success takes the data of <success/>. With SCRAM it proves that the server has the account's keys: without that proof it may
// be anybody, and it is an error (RFC 5802 section 3). A server may have sent the proof as a challenge instead.
func (c *Client) Success(data []byte) error {
	if c.conv == nil || c.conv.Valid() && len(data) == 0 {
		return nil
	}
	if _, err := c.conv.Step(string(data)); err != nil || !c.conv.Valid() {
		return fmt.Errorf("sasl: %s: the server has not proved that it knows the account", c.mechanism)
	}
	return nil
}
