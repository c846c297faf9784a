package pubsub

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"
	"time"

	"tidings"
)

// maxKey is the length that a key of a bucket may have.
const maxKey = 255

// nodeKey returns the key of a node's entry, and shardKey that of one shard of its subscriptions.
func nodeKey(name string) string { return keyOf("n:", name) }

func shardKey(name string, shard int) string { return keyOf("s"+strconv.Itoa(shard)+":", name) }

func keyOf(prefix, name string) string {
	if len(prefix)+len(name) <= maxKey {
		return prefix + name
	}
	sum := sha256.Sum256([]byte(name))
	return prefix + "#" + base64.RawURLEncoding.EncodeToString(sum[:]) // no topic begins with #
}

// parseKey says what a key is the key of: a node's entry, or else a shard with its number.
func parseKey(key string) (isNode bool, shard int, ok bool) {
	prefix, _, found := strings.Cut(key, ":")
	if !found {
		return false, 0, false
	}
	if prefix == "n" {
		return true, 0, true
	}
	num, ok := strings.CutPrefix(prefix, "s")
	n, err := strconv.ParseUint(num, 10, 20)
	return false, int(n), ok && err == nil
}

// stored is what is stored of a node beside its subscriptions. It is replaced and never changed.
type stored struct {
	life         uint64 // tells this node from an earlier one of the same name; 0 for one that was made of a topic as it was
	created      time.Time
	creator      string // bare JID, or the actor as text
	config       *Config
	affiliations []affiliation // sorted by JID
	floor        uint64        // offset up to which the topic's events are none of the node's
	deleted      bool          // there is no node: the entry is here for its floor and where the node has gone
	redirect     string        // URI
}

type affiliation struct {
	jid string // bare
	is  Affiliation
}

// of returns the affiliation of a bare JID; s may be nil.
func (s *stored) of(bare string) Affiliation {
	if s == nil || bare == "" {
		return None
	}
	i, ok := slices.BinarySearchFunc(s.affiliations, bare, func(a affiliation, j string) int { return strings.Compare(a.jid, j) })
	if !ok {
		return None
	}
	return s.affiliations[i].is
}

// owners returns the bare JIDs of the owners.
func (s *stored) owners() (out []string) {
	for _, a := range s.affiliations {
		if a.is == Owner {
			out = append(out, a.jid)
		}
	}
	return out
}

// with returns a copy with another affiliation.
func (s *stored) with(bare string, is Affiliation) *stored {
	c := *s
	c.affiliations = slices.DeleteFunc(slices.Clone(s.affiliations), func(a affiliation) bool { return a.jid == bare })
	if is != None {
		i, _ := slices.BinarySearchFunc(c.affiliations, bare, func(a affiliation, j string) int { return strings.Compare(a.jid, j) })
		c.affiliations = slices.Insert(c.affiliations, i, affiliation{bare, is})
	}
	return &c
}

// nodeEntry is the stored form of a node; the package comment states it.
type nodeEntry struct {
	Node         string                   `json:"node"`
	Life         uint64                   `json:"life,omitempty"`
	Created      time.Time                `json:"created,omitzero"`
	Creator      string                   `json:"creator,omitempty"`
	Config       map[string][]string      `json:"config,omitempty"`
	Affiliations map[Affiliation][]string `json:"affiliations,omitempty"`
	Floor        uint64                   `json:"floor,omitempty"`
	Deleted      bool                     `json:"deleted,omitempty"`
	Redirect     string                   `json:"redirect,omitempty"`
}

func (s *stored) encode(name string) ([]byte, error) {
	e := nodeEntry{Node: name, Life: s.life, Created: s.created, Creator: s.creator, Config: s.config.differences(),
		Floor: s.floor, Deleted: s.deleted, Redirect: s.redirect}
	for _, a := range s.affiliations {
		if e.Affiliations == nil {
			e.Affiliations = map[Affiliation][]string{}
		}
		e.Affiliations[a.is] = append(e.Affiliations[a.is], a.jid)
	}
	b, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("pubsub: encoding a node: %w", err)
	}
	return b, nil
}

func decodeNode(value []byte) (name string, s *stored, err error) {
	var e nodeEntry
	if !e.parsePlain(value) {
		e = nodeEntry{}
		if err := json.Unmarshal(value, &e); err != nil {
			return "", nil, fmt.Errorf("pubsub: decoding a node: %w", err)
		}
	}
	if _, err := tidings.ParseTopic(e.Node); err != nil {
		return "", nil, fmt.Errorf("pubsub: decoding a node: %w", err)
	}
	s = &stored{life: e.Life, created: e.Created, creator: e.Creator, config: &builtin, floor: e.Floor, deleted: e.Deleted, redirect: e.Redirect}
	if len(e.Config) > 0 {
		c := builtin
		for name, values := range e.Config {
			// A field of a later version is passed over. A value that is none would open what somebody has closed.
			if f := fieldNamed(configFields, name); f != nil {
				if err := f.set(&c, values); err != nil {
					return "", nil, fmt.Errorf("pubsub: decoding the node %s: %w", e.Node, err)
				}
			}
		}
		if s.config = &c; len(e.Config) == 1 && c.SendLast == usual.SendLast { // most have that
			s.config = &usual
		}
	}
	for is, jids := range e.Affiliations {
		if !is.valid() || is == None {
			return "", nil, fmt.Errorf("pubsub: decoding the node %s: unknown affiliation %q", e.Node, is)
		}
		for _, j := range jids {
			s.affiliations = append(s.affiliations, affiliation{j, is})
		}
	}
	slices.SortFunc(s.affiliations, func(a, b affiliation) int { return strings.Compare(a.jid, b.jid) })
	for i := 1; i < len(s.affiliations); i++ {
		if s.affiliations[i].jid == s.affiliations[i-1].jid {
			return "", nil, fmt.Errorf("pubsub: decoding the node %s: %s has two affiliations", e.Node, s.affiliations[i].jid)
		}
	}
	return e.Node, s, nil
}

// record is one subscription as it is stored: a line of its shard. Its slices are of the shard's bytes.
type record struct {
	jid     []byte
	id      uint64
	state   State
	since   uint64 // offset in the log at which it began
	expires int64  // Unix seconds, 0 for never
	options []byte
	service []byte
}

var stateLetters = map[State]byte{Subscribed: 's', Pending: 'p'}

// shardHead is the first line of a shard.
type shardHead struct {
	life uint64
	name string
}

var errShard = errors.New("pubsub: decoding subscriptions: malformed line")

// decodeShard calls each for every subscription of the shard.
func decodeShard(value []byte, each func(record) error) (h shardHead, err error) {
	line, rest, _ := bytes.Cut(value, []byte{'\n'})
	version, line, _ := bytes.Cut(line, []byte{' '})
	life, name, ok := bytes.Cut(line, []byte{' '})
	if h.life, err = strconv.ParseUint(string(life), 36, 64); err != nil || !ok || string(version) != "1" || len(name) == 0 {
		return h, errShard
	}
	h.name = string(name)
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte{'\n'})
		var f [7][]byte
		n := 0
		for more := true; more && n < len(f); n++ {
			f[n], line, more = bytes.Cut(line, []byte{'\t'})
		}
		r := record{jid: f[0], options: f[5], service: f[6]}
		var e1, e2, e3 error
		r.id, e1 = strconv.ParseUint(string(f[1]), 36, 64)
		r.since, e2 = strconv.ParseUint(string(f[3]), 36, 64)
		if len(f[4]) > 0 {
			r.expires, e3 = strconv.ParseInt(string(f[4]), 10, 64)
		}
		switch string(f[2]) {
		case "s":
			r.state = Subscribed
		case "p":
			r.state = Pending
		default:
			return h, errShard
		}
		if e1 != nil || e2 != nil || e3 != nil || len(r.jid) == 0 || n < 4 {
			return h, errShard
		}
		if err := each(r); err != nil {
			return h, err
		}
	}
	return h, nil
}

func decodeRecords(value []byte) (h shardHead, recs []record, err error) {
	h, err = decodeShard(value, func(r record) error {
		recs = append(recs, r)
		return nil
	})
	return h, recs, err
}

// encodeShard returns the stored form, or nil for no subscription.
func encodeShard(h shardHead, recs []record) []byte {
	if len(recs) == 0 {
		return nil
	}
	b := append(make([]byte, 0, 32+len(h.name)+64*len(recs)), "1 "...)
	b = strconv.AppendUint(b, h.life, 36)
	b = append(append(b, ' '), h.name...)
	for i := range recs {
		r := &recs[i]
		b = append(append(b, '\n'), r.jid...)
		b = strconv.AppendUint(append(b, '\t'), r.id, 36)
		b = append(b, '\t', stateLetters[r.state], '\t')
		b = strconv.AppendUint(b, r.since, 36)
		if r.expires != 0 || len(r.options) > 0 || len(r.service) > 0 {
			b = append(b, '\t')
			if r.expires != 0 {
				b = strconv.AppendInt(b, r.expires, 10)
			}
		}
		if len(r.options) > 0 || len(r.service) > 0 {
			b = append(append(b, '\t'), r.options...)
		}
		if len(r.service) > 0 {
			b = append(append(b, '\t'), r.service...)
		}
	}
	return b
}

// shardSize is how many subscriptions one shard is meant to have.
const shardSize = 32

// shardFor returns the shard in which a new subscription of the bare JID is kept, at a node that has so many. The number
// of shards grows with the node; what is in a shard stays there.
func shardFor(bare string, subscriptions int) int {
	shards := 1
	for shards*shardSize <= subscriptions {
		shards *= 2
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(bare))
	return int(h.Sum32()>>7) & (shards - 1)
}
