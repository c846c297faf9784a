package pubsub_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"tidings"
	"tidings/journal"
	"tidings/pubsub"
)

// table is who may what at a node, as XEP-0060 sections 4.1 and 4.5 say it, by affiliation and access model: s subscribes,
// a asks for it, r retrieves, p publishes (by the publish model of publishers), o does what owners do.
var table = map[pubsub.Affiliation]map[pubsub.AccessModel]string{
	pubsub.Owner:       {pubsub.AccessOpen: "srpo", pubsub.AccessAuthorize: "srpo", pubsub.AccessWhitelist: "srpo"},
	pubsub.Publisher:   {pubsub.AccessOpen: "srp", pubsub.AccessAuthorize: "srp", pubsub.AccessWhitelist: "srp"},
	pubsub.PublishOnly: {pubsub.AccessOpen: "p", pubsub.AccessAuthorize: "p", pubsub.AccessWhitelist: "p"},
	pubsub.Member:      {pubsub.AccessOpen: "sr", pubsub.AccessAuthorize: "sr", pubsub.AccessWhitelist: "sr"},
	pubsub.None:        {pubsub.AccessOpen: "sr", pubsub.AccessAuthorize: "a", pubsub.AccessWhitelist: ""},
	pubsub.Outcast:     {pubsub.AccessOpen: "", pubsub.AccessAuthorize: "", pubsub.AccessWhitelist: ""},
}

// model is what the service should know of one node and some people.
type model struct {
	access  pubsub.AccessModel
	publish pubsub.PublishModel
	is      map[string]pubsub.Affiliation
	sub     map[string]pubsub.State // of the bare JID's one subscription
}

func (m *model) can(jid string) string {
	is := m.is[jid]
	if is == "" {
		is = pubsub.None
	}
	can := table[is][m.access]
	if is == pubsub.None && m.access == pubsub.AccessAuthorize && m.sub[jid] == pubsub.Subscribed {
		can += "r"
	}
	if (m.publish == pubsub.ByAnyone && is != pubsub.Outcast || m.publish == pubsub.BySubscribers && m.sub[jid] == pubsub.Subscribed) && is != pubsub.PublishOnly {
		can += "p"
	}
	return can
}

func has(can string, what byte) bool {
	for i := range len(can) {
		if can[i] == what {
			return true
		}
	}
	return false
}

// settle ends or approves the subscriptions as the rules have it.
func (m *model) settle() {
	for jid := range m.sub {
		switch can := m.can(jid); {
		case m.sub[jid] == pubsub.Pending && has(can, 's'):
			m.sub[jid] = pubsub.Subscribed
		case !has(can, 's') && !has(can, 'a'):
			delete(m.sub, jid)
		}
	}
}

// TestModel does random things to one node by two services on a journal, and compares what everybody may and has with the
// table after each of them.
func TestModel(t *testing.T) {
	j := journal.NewMemory(journal.Options{})
	a, b := openWorld(t, j, pubsub.Options{}), openWorld(t, j, pubsub.Options{})
	people := []pubsub.Entity{hamlet, horatio, bernardo, yorick, stranger}
	affs := []pubsub.Affiliation{pubsub.Owner, pubsub.Publisher, pubsub.PublishOnly, pubsub.Member, pubsub.None, pubsub.Outcast}
	models := []pubsub.AccessModel{pubsub.AccessOpen, pubsub.AccessAuthorize, pubsub.AccessWhitelist}
	publish := []pubsub.PublishModel{pubsub.ByPublishers, pubsub.BySubscribers, pubsub.ByAnyone}
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		node := fmt.Sprint("n", run)
		m := &model{access: pubsub.AccessOpen, publish: pubsub.ByPublishers,
			is: map[string]pubsub.Affiliation{"hamlet@denmark.lit": pubsub.Owner}, sub: map[string]pubsub.State{}}
		ctx := t.Context()
		if _, err := a.Create(ctx, hamlet, node, nil); err != nil {
			rt.Fatal(err)
		}
		service := func() *world { return rapid.SampledFrom([]*world{a, b}).Draw(rt, "service") }
		check := func(rt *rapid.T) {
			for _, w := range []*world{a, b} {
				for _, p := range people {
					can := m.can(bare(p))
					may := func(a tidings.Action) bool { return w.policy.May(p.Actor, a, tidings.Topic("/~"+node)) == nil }
					if may(tidings.ReadAction) != has(can, 'r') || may(tidings.PublishAction) != has(can, 'p') {
						rt.Fatalf("%s, who is %q and can %q at %+v, may read: %v, publish: %v", p.JID, m.is[bare(p)], can, m, may(tidings.ReadAction), may(tidings.PublishAction))
					}
					if _, err := w.Config(ctx, p, node); (err == nil) != has(can, 'o') {
						rt.Fatalf("%s can %q, and sees the configuration: %v", p.JID, can, err)
					}
					subs, err := w.Subscriptions(p, node)
					if err != nil {
						rt.Fatal(err)
					}
					var is pubsub.State
					if len(subs) > 0 {
						is = subs[0].State
					}
					if len(subs) > 1 || is != m.sub[bare(p)] {
						rt.Fatalf("%s has %+v, want %q (%+v)", p.JID, subs, m.sub[bare(p)], m)
					}
				}
				anyone := w.policy.May(tidings.Actor{}, tidings.ReadAction, tidings.Topic("/~"+node)) == nil
				if anyone != (m.access == pubsub.AccessOpen) {
					rt.Fatalf("everybody may read: %v", anyone)
				}
				// Equal audiences may read the same.
				by := map[string]bool{}
				for _, p := range append(people, anonymous) {
					may := w.policy.May(p.Actor, tidings.ReadAction, tidings.Topic("/~"+node)) == nil
					aud := w.policy.AudienceOf(p.Actor, query("/~"+node).Patterns)
					if had, ok := by[aud]; ok && had != may {
						rt.Fatalf("the audience %q may read: %v and %v", aud, had, may)
					}
					by[aud] = may
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"": check,
			"affiliate": func(rt *rapid.T) {
				by, who, is := rapid.SampledFrom(people).Draw(rt, "by"), rapid.SampledFrom(people).Draw(rt, "who"), rapid.SampledFrom(affs).Draw(rt, "affiliation")
				err := service().SetAffiliations(ctx, by, node, []pubsub.Affiliated{{JID: bare(who), Affiliation: is}})
				owners := 0
				for _, o := range m.is {
					if o == pubsub.Owner {
						owners++
					}
				}
				switch {
				case !has(m.can(bare(by)), 'o'):
					if condition(err) != "forbidden" {
						rt.Fatalf("%s affiliates: %v", by.JID, err)
					}
				case m.is[bare(who)] == pubsub.Owner && is != pubsub.Owner && owners == 1:
					if condition(err) != "not-acceptable" {
						rt.Fatalf("the last owner goes: %v", err)
					}
				case err != nil:
					rt.Fatal(err)
				default:
					m.is[bare(who)] = is
					if is == pubsub.None {
						delete(m.is, bare(who))
					}
					m.settle()
				}
			},
			"configure": func(rt *rapid.T) {
				by, access, pub := rapid.SampledFrom(people).Draw(rt, "by"), rapid.SampledFrom(models).Draw(rt, "access"), rapid.SampledFrom(publish).Draw(rt, "publish")
				err := service().Configure(ctx, by, node, values("access_model="+string(access), "publish_model="+string(pub)))
				if !has(m.can(bare(by)), 'o') {
					if condition(err) != "forbidden" {
						rt.Fatalf("%s configures: %v", by.JID, err)
					}
					return
				}
				if err != nil {
					rt.Fatal(err)
				}
				m.access, m.publish = access, pub
				m.settle()
			},
			"subscribe": func(rt *rapid.T) {
				who := rapid.SampledFrom(people).Draw(rt, "who")
				_, err := service().Subscribe(ctx, who, node, bare(who), nil)
				can := m.can(bare(who))
				switch {
				case m.sub[bare(who)] == pubsub.Pending:
					if condition(err) != "not-authorized pending-subscription" {
						rt.Fatalf("%s asks again: %v", who.JID, err)
					}
				case has(can, 's'), m.sub[bare(who)] == pubsub.Subscribed:
					if err != nil {
						rt.Fatalf("%s subscribes: %v", who.JID, err)
					}
					m.sub[bare(who)] = pubsub.Subscribed
				case has(can, 'a'):
					if err != nil {
						rt.Fatalf("%s asks: %v", who.JID, err)
					}
					m.sub[bare(who)] = pubsub.Pending
				default:
					if err == nil {
						rt.Fatalf("%s subscribes", who.JID)
					}
				}
			},
			"unsubscribe": func(rt *rapid.T) {
				who := rapid.SampledFrom(people).Draw(rt, "who")
				err := service().Unsubscribe(ctx, who, node, bare(who), "")
				if (err == nil) != (m.sub[bare(who)] != "") {
					rt.Fatalf("%s unsubscribes from %q: %v", who.JID, m.sub[bare(who)], err)
				}
				delete(m.sub, bare(who))
			},
			"approve": func(rt *rapid.T) {
				by, who, allow := rapid.SampledFrom(people).Draw(rt, "by"), rapid.SampledFrom(people).Draw(rt, "who"), rapid.Bool().Draw(rt, "allow")
				err := service().Approve(ctx, by, node, bare(who), "", allow)
				if ok := has(m.can(bare(by)), 'o') && m.sub[bare(who)] == pubsub.Pending; (err == nil) != ok {
					rt.Fatalf("%s approves %s, who is %q: %v", by.JID, who.JID, m.sub[bare(who)], err)
				} else if ok && allow {
					m.sub[bare(who)] = pubsub.Subscribed
				} else if ok {
					delete(m.sub, bare(who))
				}
			},
		})
	})
}
