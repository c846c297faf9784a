package pubsub_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	model "tidings/pubsub"
)

// section is one of XEP-0060's sections 5 to 8. Either a script shows it, or it cannot be shown: an error says that something
// is not supported that is, or there is something that this service has not, and does not advertise.
type section struct {
	number, title string
	shows         string // elements that the part of a script has, which a comment such as "# Section 6.1.1: …" begins
	has           string // the feature for the lack of which the error is
	lacks, why    string // the feature that is not advertised, if there is one for it, and why
}

var sections = []section{
	{number: "5.1", title: "Discover Features", shows: "identity feature"},
	{number: "5.2", title: "Discover Nodes", shows: "query item"},
	{number: "5.3", title: "Discover Node Information", shows: "identity item-not-found"},
	{number: "5.4", title: "Discover Node Metadata", shows: "identity x"},
	{number: "5.5", title: "Discover Items for a Node", shows: "query item"},
	{number: "5.6", title: "Retrieve Subscriptions", shows: "subscriptions subscription"},
	{number: "5.7", title: "Retrieve Affiliations", shows: "affiliations affiliation"},

	{number: "6.1.1", title: "Request", shows: "subscribe"},
	{number: "6.1.2", title: "Success Case", shows: "subscription"},
	{number: "6.1.3.1", title: "JIDs Do Not Match", shows: "bad-request invalid-jid"},
	{number: "6.1.3.2", title: "Presence Subscription Required", lacks: "access-presence", why: "the service knows no presence but its clients': 8.1.2 shows that the model is refused"},
	{number: "6.1.3.3", title: "Not in Roster Group", lacks: "access-roster", why: "the service knows no roster: 8.1.2 shows that the model is refused"},
	{number: "6.1.3.4", title: "Not on Whitelist", shows: "not-allowed closed-node"},
	{number: "6.1.3.5", title: "Payment Required", why: "nothing is paid for"},
	{number: "6.1.3.6", title: "Anonymous Subscriptions Not Allowed", shows: "forbidden"},
	{number: "6.1.3.7", title: "Subscription Pending", shows: "not-authorized pending-subscription"},
	{number: "6.1.3.8", title: "Blocked", shows: "forbidden"},
	{number: "6.1.3.9", title: "Too Many Subscriptions", shows: "policy-violation too-many-subscriptions"},
	{number: "6.1.3.10", title: "Subscriptions Not Supported", shows: "feature-not-implemented unsupported"},
	{number: "6.1.3.11", title: "Node Has Moved", shows: "gone"},
	{number: "6.1.3.12", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "6.1.4", title: "Approval Required", shows: "subscription x"},
	{number: "6.1.5", title: "Configuration Required", why: "every option has a default: nothing is ever unconfigured"},
	{number: "6.1.6", title: "Multiple Subscriptions", shows: "subscribe subscription"},
	{number: "6.1.7", title: "Receiving the Last Published Item", shows: "event delay"},

	{number: "6.2.1", title: "Request", shows: "unsubscribe"},
	{number: "6.2.2", title: "Success Case", shows: "unsubscribe"},
	{number: "6.2.3.1", title: "No Subscription ID", shows: "unsubscribe bad-request subid-required"},
	{number: "6.2.3.2", title: "No Such Subscriber", shows: "unexpected-request not-subscribed"},
	{number: "6.2.3.3", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "6.2.3.4", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "6.2.3.5", title: "Bad Subscription ID", shows: "not-acceptable invalid-subid"},

	{number: "6.3.1", title: "Advertising Support", shows: "feature"},
	{number: "6.3.2", title: "Request", shows: "options"},
	{number: "6.3.3", title: "Success Case", shows: "options x"},
	{number: "6.3.4.1", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "6.3.4.2", title: "No Such Subscriber", shows: "unexpected-request not-subscribed"},
	{number: "6.3.4.3", title: "Subscriber JID Required", shows: "bad-request jid-required"},
	{number: "6.3.4.4", title: "Subscription ID Required", shows: "options bad-request subid-required"},
	{number: "6.3.4.5", title: "Invalid Subscription ID", shows: "not-acceptable invalid-subid"},
	{number: "6.3.4.6", title: "Subscription Options Not Supported", has: "subscription-options"},
	{number: "6.3.4.7", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "6.3.5", title: "Form Submission", shows: "options x"},
	{number: "6.3.6.1", title: "Success", shows: "options x"},
	{number: "6.3.6.2", title: "Failure", shows: "bad-request invalid-options"},
	{number: "6.3.7", title: "Subscribe and Configure", shows: "subscribe options subscription bad-request"},

	{number: "6.4.1", title: "Request", shows: "default"},
	{number: "6.4.2", title: "Success Case", shows: "default x"},
	{number: "6.4.3.1", title: "Node Configuration Not Supported", has: "subscription-options"},
	{number: "6.4.3.2", title: "Default Subscription Configuration Retrieval Not Supported", has: "retrieve-default-sub"},

	{number: "6.5.1", title: "Permissions", shows: "items item"},
	{number: "6.5.2", title: "Requesting All Items", shows: "items"},
	{number: "6.5.3", title: "Returning All Items", shows: "items item"},
	{number: "6.5.4", title: "Returning Some Items", shows: "items item set"},
	{number: "6.5.5", title: "Returning the Last Published Item", shows: "items item"},
	{number: "6.5.6", title: "Returning Notifications Only", shows: "event items item"},
	{number: "6.5.7", title: "Requesting the Most Recent Items", shows: "items item"},
	{number: "6.5.8", title: "Requesting a Particular Item", shows: "items item"},
	{number: "6.5.9.1", title: "Subscription ID Required", shows: "bad-request subid-required"},
	{number: "6.5.9.2", title: "Invalid Subscription ID", shows: "not-acceptable invalid-subid"},
	{number: "6.5.9.3", title: "Entity Not Subscribed", shows: "not-authorized not-subscribed"},
	{number: "6.5.9.4", title: "Persistent Items Not Supported", shows: "feature-not-implemented unsupported"},
	{number: "6.5.9.5", title: "Item Retrieval Not Supported", shows: "feature-not-implemented unsupported"},
	{number: "6.5.9.6", title: "Presence Subscription Required", lacks: "access-presence", why: "as 6.1.3.2"},
	{number: "6.5.9.7", title: "Not in Roster Group", lacks: "access-roster", why: "as 6.1.3.3"},
	{number: "6.5.9.8", title: "Not on Whitelist", shows: "not-allowed closed-node"},
	{number: "6.5.9.9", title: "Payment Required", why: "nothing is paid for"},
	{number: "6.5.9.10", title: "Blocked", shows: "forbidden"},
	{number: "6.5.9.11", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "6.5.9.12", title: "No Such Item(s)", shows: "items"},

	{number: "7.1.1", title: "Request", shows: "publish item"},
	{number: "7.1.2", title: "Success Case", shows: "publish item event"},
	{number: "7.1.2.1", title: "Notification With Payload", shows: "event item entry"},
	{number: "7.1.2.2", title: "Notification Without Payload", shows: "event item"},
	{number: "7.1.2.3", title: "Item Publisher", shows: "event item"},
	{number: "7.1.2.4", title: "Inclusion of Subscription ID", shows: "event headers header"},
	{number: "7.1.2.5", title: "Node Full (publish-node-full)", shows: "retract"},
	{number: "7.1.3.1", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "7.1.3.2", title: "Item Publication Not Supported", shows: "feature-not-implemented unsupported"},
	{number: "7.1.3.3", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "7.1.3.4", title: "Node Full", shows: "conflict node-full"},
	{number: "7.1.3.5", title: "Payload Too Big", shows: "not-acceptable payload-too-big"},
	{number: "7.1.3.6", title: "Bad Payload", shows: "bad-request invalid-payload"},
	{number: "7.1.3.7", title: "Request Does Not Match Configuration", shows: "bad-request item-required payload-required item-forbidden"},
	{number: "7.1.4", title: "Automatic Node Creation", shows: "publish"},
	{number: "7.1.5", title: "Publishing Options", shows: "publish-options conflict precondition-not-met"},

	{number: "7.2.1", title: "Request", shows: "retract"},
	{number: "7.2.2", title: "Success Case", shows: "retract"},
	{number: "7.2.2.1", title: "Delete And Notify", shows: "event retract"},
	{number: "7.2.2.2", title: "Inclusion of Subscription ID", shows: "retract headers"},
	{number: "7.2.3.1", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "7.2.3.2", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "7.2.3.3", title: "NodeID Required", shows: "bad-request nodeid-required"},
	{number: "7.2.3.4", title: "Item or ItemID Required", shows: "bad-request item-required"},
	{number: "7.2.3.5", title: "Persistent Items Not Supported", shows: "feature-not-implemented unsupported"},
	{number: "7.2.3.6", title: "Item Deletion Not Supported", has: "delete-items"},

	{number: "8.1.1", title: "General Considerations", shows: "create registration-required forbidden conflict max-nodes-exceeded"},
	{number: "8.1.2", title: "Create a Node With Default Configuration", shows: "create not-acceptable unsupported-access-model"},
	{number: "8.1.3", title: "Create and Configure a Node", shows: "create configure not-acceptable bad-request"},

	{number: "8.2.1", title: "Request", shows: "configure"},
	{number: "8.2.2", title: "Success Case", shows: "configure x"},
	{number: "8.2.3.1", title: "Node Configuration Not Supported", has: "config-node"},
	{number: "8.2.3.2", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.2.3.3", title: "NodeID Required", shows: "bad-request nodeid-required"},
	{number: "8.2.3.4", title: "No Configuration Options", shows: "not-allowed"},
	{number: "8.2.3.5", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "8.2.4", title: "Form Submission", shows: "configure x"},
	{number: "8.2.5.1", title: "Success", shows: "configure x"},
	{number: "8.2.5.2", title: "Failure", shows: "configure not-acceptable"},
	{number: "8.2.5.3", title: "Success With Notifications", shows: "event configuration x"},

	{number: "8.3.1", title: "Request", shows: "default"},
	{number: "8.3.2", title: "Success Case", shows: "default x"},
	{number: "8.3.3.1", title: "Node Configuration Not Supported", has: "config-node"},
	{number: "8.3.3.2", title: "Default Configuration Retrieval Not Supported", has: "retrieve-default"},

	{number: "8.4.1", title: "Request", shows: "delete"},
	{number: "8.4.2", title: "Success Case", shows: "event delete redirect"},
	{number: "8.4.3.1", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.4.3.2", title: "Node Does Not Exist", shows: "item-not-found"},

	{number: "8.5.1", title: "Request", shows: "purge"},
	{number: "8.5.2", title: "Success Case", shows: "event purge"},
	{number: "8.5.3.1", title: "Node Purging Not Supported", has: "purge-nodes"},
	{number: "8.5.3.2", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.5.3.3", title: "Node Does Not Persist Items", shows: "feature-not-implemented unsupported"},
	{number: "8.5.3.4", title: "Node Does Not Exist", shows: "item-not-found"},

	{number: "8.6", title: "Manage Subscription Requests", shows: "x event subscription forbidden"},

	{number: "8.7.1", title: "Request", shows: "command"},
	{number: "8.7.2", title: "Success Case", shows: "command x option"},
	{number: "8.7.3.1", title: "Ad-Hoc Commands Not Supported", has: "get-pending"},
	{number: "8.7.3.2", title: "Get-Pending Not Supported", has: "get-pending"},
	{number: "8.7.3.3", title: "Insufficient Privileges", shows: "command forbidden"},
	{number: "8.7.3.4", title: "Node Does Not Exist", shows: "command item-not-found"},
	{number: "8.7.4", title: "Per-Node Request", shows: "command x"},

	{number: "8.8.1.1", title: "Request", shows: "subscriptions"},
	{number: "8.8.1.2", title: "Success Case", shows: "subscriptions subscription"},
	{number: "8.8.1.3.1", title: "Subscription Management Not Supported", has: "manage-subscriptions"},
	{number: "8.8.1.3.2", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.8.1.3.3", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "8.8.2.1", title: "Request", shows: "subscriptions subscription"},
	{number: "8.8.2.2", title: "Success Case", shows: "subscriptions subscription"},
	{number: "8.8.2.3.1", title: "Subscription Management Not Supported", has: "manage-subscriptions"},
	{number: "8.8.2.3.2", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.8.2.3.3", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "8.8.2.4", title: "Multiple Simultaneous Modifications", shows: "subscription not-acceptable"},
	{number: "8.8.3", title: "Delete a Subscriber", shows: "subscription event"},
	{number: "8.8.4", title: "Notifying Subscribers", shows: "event subscription"},

	{number: "8.9.1.1", title: "Request", shows: "affiliations"},
	{number: "8.9.1.2", title: "Success Case", shows: "affiliations affiliation"},
	{number: "8.9.1.3.1", title: "Affiliation Modification Not Supported", has: "modify-affiliations"},
	{number: "8.9.1.3.2", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.9.1.3.3", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "8.9.2.1", title: "Request", shows: "affiliations affiliation"},
	{number: "8.9.2.2", title: "Success Case", shows: "affiliations affiliation"},
	{number: "8.9.2.3.1", title: "Affiliation Modification Not Supported", has: "modify-affiliations"},
	{number: "8.9.2.3.2", title: "Affiliation Not Supported", has: "publish-only-affiliation"},
	{number: "8.9.2.3.3", title: "Insufficient Privileges", shows: "forbidden"},
	{number: "8.9.2.3.4", title: "Node Does Not Exist", shows: "item-not-found"},
	{number: "8.9.2.4", title: "Multiple Simultaneous Modifications", shows: "affiliation not-acceptable bad-request"},
	{number: "8.9.3", title: "Delete an Entity", shows: "affiliation"},
	{number: "8.9.4", title: "Notifying Entities", shows: "message affiliations affiliation"},
}

// worked says where each feature that is advertised is seen to work: the sections whose scripts show it, or a script.
var worked = map[string][]string{
	"access-authorize": {"6.1.4", "6.5.9.3", "8.6"}, "access-open": {"6.1.2", "6.5.1"}, "access-whitelist": {"6.1.3.4", "6.5.1", "6.5.9.8"},
	"auto-create": {"7.1.4"}, "config-node": {"8.2.4", "8.2.5.3"}, "config-node-max": {"8.2.2"}, "create-and-configure": {"8.1.3"}, "create-nodes": {"8.1.1"},
	"delete-items": {"7.2.2"}, "delete-nodes": {"8.4.2"}, "get-pending": {"8.7.2", "8.7.4"}, "instant-nodes": {"8.1.1"}, "item-ids": {"7.1.1", "6.5.8"},
	"last-published": {"6.1.7"}, "leased-subscription": {"12.18-leases"}, "manage-subscriptions": {"8.8.1.2", "8.8.2.2"}, "member-affiliation": {"6.5.1"},
	"meta-data": {"5.4"}, "modify-affiliations": {"8.9.2.2"}, "multi-items": {"7.1.2"}, "multi-subscribe": {"6.1.6"}, "outcast-affiliation": {"6.1.3.8", "6.5.9.10"},
	"persistent-items": {"6.5.3"}, "publish": {"7.1.2"}, "publish-node-full": {"7.1.2.5", "7.1.3.4"}, "publish-only-affiliation": {"7.1.3.1", "6.5.9.10"},
	"publish-options": {"7.1.5"}, "publisher-affiliation": {"7.1.3.1", "6.5.1"}, "purge-nodes": {"8.5.2"}, "retract-items": {"7.2.2.1"},
	"retrieve-affiliations": {"5.7"}, "retrieve-default": {"8.3.2"}, "retrieve-default-sub": {"6.4.2"}, "retrieve-items": {"6.5.3"},
	"retrieve-subscriptions": {"5.6"}, "rsm": {"6.5.4", "5.6"}, "subscribe": {"6.1.2"}, "subscription-notifications": {"12.21-owners", "8.8.4"},
	"subscription-options": {"6.3.3", "6.3.7"},
}

var numbers = regexp.MustCompile(`\b[5-8](?:\.\d+)+\b`)

// shown returns what the scripts say under the number of each section, and the names of the scripts.
func shown(t *testing.T) (parts map[string]string, names []string) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("there is no script:", err)
	}
	parts = map[string]string{}
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".txt"))
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var now []string
		for line := range strings.Lines(string(text)) {
			if head, ok := strings.CutPrefix(line, "# Section"); ok {
				head, _, _ = strings.Cut(head, ":")
				now = numbers.FindAllString(head, -1)
				continue
			}
			for _, n := range now {
				parts[n] += line
			}
		}
	}
	return parts, names
}

// Every section has its transcript, or the reason why it can have none; and a feature is advertised exactly if it works.
func TestSections(t *testing.T) {
	parts, names := shown(t)
	features := model.Features()
	advertised := func(f string) bool { return slices.Contains(features, model.NS+"#"+f) }
	known := map[string]bool{}
	for _, s := range sections {
		if known[s.number] {
			t.Errorf("%s is in the table twice", s.number)
		}
		known[s.number] = true
		part := parts[s.number]
		switch {
		case s.has != "":
			if !advertised(s.has) {
				t.Errorf("%s (%s): the feature %s is not advertised, and the error not shown", s.number, s.title, s.has)
			}
		case s.why != "":
			if s.lacks != "" && advertised(s.lacks) {
				t.Errorf("%s (%s): the feature %s is advertised, and the section not shown", s.number, s.title, s.lacks)
			}
		case !strings.Contains(part, " sends:\n") || !strings.Contains(part, " receives"):
			t.Errorf("%s (%s): no script shows it", s.number, s.title)
		default:
			for el := range strings.FieldsSeq(s.shows) {
				if !regexp.MustCompile("<" + el + `[ />]`).MatchString(part) {
					t.Errorf("%s (%s): no <%s> in what the scripts show", s.number, s.title, el)
				}
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(parts)) {
		if !known[n] {
			t.Errorf("a script shows %s, which is no section of the table", n)
		}
	}
	for _, f := range features {
		name, ok := strings.CutPrefix(f, model.NS+"#")
		if ok && len(worked[name]) == 0 {
			t.Errorf("the feature %s is advertised, and nothing shows that it works", name)
		}
	}
	for _, f := range slices.Sorted(maps.Keys(worked)) {
		if !advertised(f) {
			t.Errorf("the feature %s works and is not advertised", f)
		}
		for _, where := range worked[f] {
			if parts[where] == "" && !slices.Contains(names, where) {
				t.Errorf("the feature %s is to be seen in %s, which is not there", f, where)
			}
		}
	}
}

// Where nobody creates nodes, nothing says that somebody may.
func TestFeaturesOfCreation(t *testing.T) {
	for create, want := range map[string]string{model.ByAccounts: "", model.ByAdmins: "forbidden", model.ByNobody: "feature-not-implemented"} {
		c := newCourt(t, newEdge(t), func(o *model.Options) { o.Create = create })
		told := string(c.peer("hamlet").ask("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>").Element.Raw())
		for _, f := range []string{"create-nodes", "instant-nodes", "create-and-configure", "auto-create"} {
			if got := strings.Contains(told, "#"+f+"'"); got != (create != model.ByNobody) {
				t.Errorf("%s: the feature %s is advertised: %t", create, f, got)
			}
		}
		for _, payload := range []string{"<create node='n'/>", "<create/>"} {
			if got := c.peer("hamlet").refused("set", pubsubSet, payload); got != want {
				t.Errorf("%s: %s is answered with %q, want %q", create, payload, got, want)
			}
		}
		c.close()
	}
}
