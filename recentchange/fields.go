package recentchange

import "strconv"

// field names a member of the JSON forms, in the order in which MediaWiki writes them.
type field uint8

const (
	fID field = iota
	fType
	fNamespace
	fTitle
	fTitleURL
	fComment
	fTimestamp
	fUser
	fBot
	fNotifyURL
	fMinor
	fPatrolled
	fLength
	fRevision
	fLogID
	fLogType
	fLogAction
	fLogParams
	fLogActionComment
	fServerURL
	fServerName
	fServerScriptPath
	fWiki
	fParsedComment
	numFields

	fMeta   field = 60 // EventStreams only, and not in the order
	fSchema field = 61
	fExtra  field = 64 // fExtra+i is Extra[i]
)

// maxOrder is how many members keep their place when they are written again.
const maxOrder = 40

var fieldNames = [numFields]string{
	"id", "type", "namespace", "title", "title_url", "comment", "timestamp", "user", "bot", "notify_url", "minor", "patrolled",
	"length", "revision", "log_id", "log_type", "log_action", "log_params", "log_action_comment", "server_url", "server_name",
	"server_script_path", "wiki", "parsedcomment",
}

// fieldOf returns the field of a name; a switch, which costs no hashing and takes bytes without copying them.
func fieldOf(name []byte) (field, bool) {
	switch string(name) {
	case "id":
		return fID, true
	case "type":
		return fType, true
	case "namespace":
		return fNamespace, true
	case "title":
		return fTitle, true
	case "title_url":
		return fTitleURL, true
	case "comment":
		return fComment, true
	case "timestamp":
		return fTimestamp, true
	case "user":
		return fUser, true
	case "bot":
		return fBot, true
	case "notify_url":
		return fNotifyURL, true
	case "minor":
		return fMinor, true
	case "patrolled":
		return fPatrolled, true
	case "length":
		return fLength, true
	case "revision":
		return fRevision, true
	case "log_id":
		return fLogID, true
	case "log_type":
		return fLogType, true
	case "log_action":
		return fLogAction, true
	case "log_params":
		return fLogParams, true
	case "log_action_comment":
		return fLogActionComment, true
	case "server_url":
		return fServerURL, true
	case "server_name":
		return fServerName, true
	case "server_script_path":
		return fServerScriptPath, true
	case "wiki":
		return fWiki, true
	case "parsedcomment":
		return fParsedComment, true
	case "meta":
		return fMeta, true
	case "$schema":
		return fSchema, true
	}
	return 0, false
}

// text returns the place of a text field, or nil.
func (rc *RecentChange) text(f field) *Opt[string] {
	switch f {
	case fTitle:
		return &rc.Title
	case fTitleURL:
		return &rc.TitleURL
	case fComment:
		return &rc.Comment
	case fUser:
		return &rc.User
	case fNotifyURL:
		return &rc.NotifyURL
	case fLogType:
		return &rc.LogType
	case fLogAction:
		return &rc.LogAction
	case fLogActionComment:
		return &rc.LogActionComment
	case fServerURL:
		return &rc.ServerURL
	case fServerName:
		return &rc.ServerName
	case fServerScriptPath:
		return &rc.ServerScriptPath
	case fWiki:
		return &rc.Wiki
	case fParsedComment:
		return &rc.ParsedComment
	}
	return nil
}

// number returns the place of an integer field, or nil.
func (rc *RecentChange) number(f field) *Opt[int64] {
	switch f {
	case fID:
		return &rc.ID
	case fNamespace:
		return &rc.Namespace
	case fTimestamp:
		return &rc.Timestamp
	case fLogID:
		return &rc.LogID
	}
	return nil
}

// flag returns the place of a boolean field, or nil.
func (rc *RecentChange) flag(f field) *Opt[bool] {
	switch f {
	case fBot:
		return &rc.Bot
	case fMinor:
		return &rc.Minor
	case fPatrolled:
		return &rc.Patrolled
	}
	return nil
}

// pair returns the place of length or revision, or nil.
func (rc *RecentChange) pair(f field) *Opt[Pair] {
	switch f {
	case fLength:
		return &rc.Length
	case fRevision:
		return &rc.Revision
	}
	return nil
}

// Field returns a field by its name in EventStreams as text, for filters: numbers in decimal, booleans as true and false,
// members of objects with a dot, such as length.new, revision.old and meta.domain. There is none if it is absent or null,
// if it is an object, or if no scalar field has that name.
func (rc *RecentChange) Field(name string) (value string, ok bool) {
	switch name { // those that filters ask for most, and those which are no plain field
	case "wiki":
		return rc.Wiki.Get()
	case "type":
		return rc.Type, true
	case "server_name":
		return rc.ServerName.Get()
	case "title":
		return rc.Title.Get()
	case "user":
		return rc.User.Get()
	case "length.old":
		return decimal(rc.Length.v.Old)
	case "length.new":
		return decimal(rc.Length.v.New)
	case "revision.old":
		return decimal(rc.Revision.v.Old)
	case "revision.new":
		return decimal(rc.Revision.v.New)
	case "meta.domain":
		return rc.domain()
	case "meta.stream":
		return DefaultStream, true
	case "meta.uri":
		b := rc.appendURI(nil)
		return string(b), len(b) > 0
	case "$schema":
		return Schema, true
	}
	if f, ok := fieldOf([]byte(name)); ok {
		if s := rc.text(f); s != nil {
			return s.Get()
		}
		if n := rc.number(f); n != nil {
			return decimal(*n)
		}
		if b := rc.flag(f); b != nil && b.IsSet() {
			return strconv.FormatBool(b.v), true
		}
		return "", false
	}
	for _, m := range rc.Extra {
		if m.Name == name {
			return scalar(m.Value)
		}
	}
	return "", false
}

func decimal(n Opt[int64]) (string, bool) {
	if !n.IsSet() {
		return "", false
	}
	return strconv.FormatInt(n.v, 10), true
}
