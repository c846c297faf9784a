package pubsub

import (
	"maps"
	"reflect"
	"slices"
)

// AccessModel says who may subscribe to a node and retrieve its items (XEP-0060 section 4.5).
type AccessModel string

// The access models that are supported. Presence and roster need an account's roster, which this service has not.
const (
	AccessOpen      AccessModel = "open"
	AccessAuthorize AccessModel = "authorize"
	AccessWhitelist AccessModel = "whitelist"
)

// PublishModel says who may publish beside owners and publishers (XEP-0060 section 16.4.4).
type PublishModel string

// The publish models. None of them lets the anonymous actor publish.
const (
	ByPublishers  PublishModel = "publishers"
	BySubscribers PublishModel = "subscribers"
	ByAnyone      PublishModel = "open"
)

// SendLast says when the last published item is sent unasked.
type SendLast string

// The values of SendLast. On presence is the stanza layer's to do.
const (
	SendNever            SendLast = "never"
	SendOnSub            SendLast = "on_sub"
	SendOnSubAndPresence SendLast = "on_sub_and_presence"
)

// Limits of a configuration's texts.
const (
	maxTextBytes        = 1024
	maxDescriptionBytes = 4096
	maxContacts         = 32
)

// WhenFull says what happens to an item published to a node that has its most items (pubsub#publish_node_full).
type WhenFull string

// The values of WhenFull.
const (
	RetractOldest WhenFull = "retract-oldest" // its subscribers are told
	DiscardOldest WhenFull = "discard-oldest" // nobody is told
	Reject        WhenFull = "reject"
)

// Config is the configuration of a node (XEP-0060 section 16.4.4). A *Config that the Service has returned is shared and
// must not be changed; copy it.
type Config struct {
	Title, Description string
	Language           string   // xml:lang of the items
	Type               string   // of the payloads: a namespace, "" for any
	Contact            []string // JIDs
	BodyXSLT           string
	DataformXSLT       string

	AccessModel  AccessModel
	PublishModel PublishModel
	Subscribe    bool // whether subscriptions are allowed

	PersistItems   bool
	MaxItems       int // most items that are kept, 0 for as many as the service keeps
	ItemExpire     int // seconds after which an item is gone, 0 for never
	MaxPayloadSize int // bytes, 0 for as many as the journal takes
	WhenFull       WhenFull

	DeliverNotifications bool
	DeliverPayloads      bool
	NotifyConfig         bool
	NotifyDelete         bool
	NotifyRetract        bool
	NotifySub            bool   // owners are told of subscriptions
	NotificationType     string // of the messages: normal or headline
	SendLast             SendLast
	ItemReply            string // owner or publisher
}

// builtin is what a stored configuration is stated as the difference from; see the package comment. It never changes.
var builtin = Config{
	AccessModel: AccessOpen, PublishModel: ByPublishers, Subscribe: true,
	PersistItems: true, WhenFull: DiscardOldest,
	DeliverNotifications: true, DeliverPayloads: true, NotifyConfig: true, NotifyDelete: true, NotifyRetract: true,
	NotificationType: "normal", SendLast: SendNever, ItemReply: "publisher",
}

// DefaultConfig returns what a node is created with where the service's Options say nothing else (section 8.3). The last item is sent
// unasked, as it has to be by default where that is supported (section 4.3).
func DefaultConfig() Config {
	c := builtin
	c.SendLast = SendOnSubAndPresence
	return c
}

// usual is DefaultConfig. It never changes.
var usual = DefaultConfig()

var configFields = []field[Config]{
	textField("title", "A short name for the node", maxTextBytes, func(c *Config) *string { return &c.Title }),
	textField("description", "A description of the node", maxDescriptionBytes, func(c *Config) *string { return &c.Description }),
	textField("language", "The default language of the node", 64, func(c *Config) *string { return &c.Language }),
	textField("type", "The namespace of the payloads, if it is to be checked", maxTextBytes, func(c *Config) *string { return &c.Type }),
	{name: "contact", kind: "jid-multi", label: "The JIDs of those to contact with questions",
		get: func(c *Config) []string { return c.Contact },
		set: func(c *Config, values []string) error {
			if len(values) > maxContacts {
				return invalidValue("contact", "want at most %d", maxContacts)
			}
			for _, v := range values {
				if checkJID(v) != nil {
					return invalidValue("contact", "%.80q is no JID", v)
				}
			}
			c.Contact = slices.Clone(values)
			return nil
		}},
	{name: "access_model", kind: "list-single", label: "Who may subscribe and retrieve items",
		options: []string{string(AccessOpen), string(AccessAuthorize), string(AccessWhitelist)},
		get:     func(c *Config) []string { return []string{string(c.AccessModel)} },
		set: func(c *Config, values []string) error {
			v, err := one("access_model", values)
			if err != nil {
				return err
			}
			switch m := AccessModel(v); m {
			case AccessOpen, AccessAuthorize, AccessWhitelist:
				c.AccessModel = m
				return nil
			}
			return errorf(NotAcceptable, UnsupportedAccessModel, "the access model %.40q is not supported: want open, authorize or whitelist", v)
		}},
	listField("publish_model", "Who may publish", func(c *Config) *PublishModel { return &c.PublishModel }, ByPublishers, BySubscribers, ByAnyone),
	boolField("subscribe", "Whether to allow subscriptions", func(c *Config) *bool { return &c.Subscribe }),
	boolField("persist_items", "Whether items are kept for retrieval", func(c *Config) *bool { return &c.PersistItems }),
	numberField("max_items", "The most items that are kept", func(c *Config) *int { return &c.MaxItems }),
	numberField("item_expire", "Seconds after which an item is removed", func(c *Config) *int { return &c.ItemExpire }),
	numberField("max_payload_size", "The most bytes that a payload may have", func(c *Config) *int { return &c.MaxPayloadSize }),
	listField("publish_node_full", "What happens when an item is published to a full node", func(c *Config) *WhenFull { return &c.WhenFull }, DiscardOldest, RetractOldest, Reject),
	boolField("deliver_notifications", "Whether to deliver event notifications", func(c *Config) *bool { return &c.DeliverNotifications }),
	boolField("deliver_payloads", "Whether notifications have payloads", func(c *Config) *bool { return &c.DeliverPayloads }),
	boolField("notify_config", "Whether subscribers are told of a new configuration", func(c *Config) *bool { return &c.NotifyConfig }),
	boolField("notify_delete", "Whether subscribers are told of the node's deletion", func(c *Config) *bool { return &c.NotifyDelete }),
	boolField("notify_retract", "Whether subscribers are told of items that are removed", func(c *Config) *bool { return &c.NotifyRetract }),
	boolField("notify_sub", "Whether owners are told of subscriptions", func(c *Config) *bool { return &c.NotifySub }),
	listField("notification_type", "The type of the messages that bring notifications", func(c *Config) *string { return &c.NotificationType }, "normal", "headline"),
	listField("send_last_published_item", "When to send the last published item", func(c *Config) *SendLast { return &c.SendLast }, SendNever, SendOnSub, SendOnSubAndPresence),
	listField("itemreply", "Whom replies to notifications go to", func(c *Config) *string { return &c.ItemReply }, "owner", "publisher"),
	{name: "node_type", kind: "list-single", label: "Whether the node is a leaf", options: []string{"leaf"},
		get: func(*Config) []string { return []string{"leaf"} },
		set: func(_ *Config, values []string) error {
			if v, err := one("node_type", values); err != nil || v != "leaf" {
				return unsupported("collections", "nodes are leaves here: topics are paths, and a pattern subscribes to many")
			}
			return nil
		}},
	textField("body_xslt", "The URL of an XSL transformation to a message body", maxTextBytes, func(c *Config) *string { return &c.BodyXSLT }),
	textField("dataform_xslt", "The URL of an XSL transformation to a data form", maxTextBytes, func(c *Config) *string { return &c.DataformXSLT }),
	neverField[Config]("presence_based_delivery", "Whether to deliver to available users only", "this service knows no presence"),
	neverField[Config]("purge_offline", "Whether to purge items when the publisher goes offline", "this service knows no presence"),
	neverField[Config]("tempsub", "Whether subscriptions end when the subscriber goes offline", "this service knows no presence"),
	{name: "roster_groups_allowed", kind: "list-multi", label: "The roster groups that may subscribe",
		get: func(*Config) []string { return nil },
		set: func(_ *Config, values []string) error {
			if len(values) > 0 {
				return invalidValue("roster_groups_allowed", "this service knows no roster")
			}
			return nil
		}},
}

// Fields returns the form of the configuration.
func (c *Config) Fields() []Field {
	out := make([]Field, 0, len(configFields))
	for i := range configFields {
		out = append(out, configFields[i].show(c))
	}
	return out
}

// Set changes the configuration by the fields of a form; the others stay. Errors are of type *Error with the condition
// not-acceptable, or feature-not-implemented for a type of node that there is not; c is then changed in part.
func (c *Config) Set(values Values) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		f := fieldNamed(configFields, name)
		if f == nil {
			return errorf(NotAcceptable, "", "there is no field %.60q in the configuration of a node", name)
		}
		if err := f.set(c, values[name]); err != nil {
			return err
		}
	}
	return nil
}

// differences returns the fields in which c differs from the built-in configuration, by their names without prefix.
func (c *Config) differences() map[string][]string {
	var out map[string][]string
	for i := range configFields {
		f := &configFields[i]
		if v := f.get(c); !slices.Equal(v, f.get(&builtin)) {
			if out == nil {
				out = map[string][]string{}
			}
			if v == nil {
				v = []string{}
			}
			out[f.name] = v
		}
	}
	return out
}

func (c *Config) equal(d *Config) bool { return c == d || reflect.DeepEqual(c, d) }
