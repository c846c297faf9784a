package recentchange

import (
	"encoding/json"
	"mime"
	"strings"
	"time"

	"tidings"
)

// APIType returns the content type of the rows that a wiki's API lists: TypeAPI with the parameters wiki, server, script
// and article, since a row does not say which wiki it is of. The error, of kind ErrInvalid, is about an empty id or a
// type of more than tidings.MaxContentTypeBytes.
func APIType(id string, w Wiki) (string, error) {
	params := map[string]string{"wiki": id}
	for name, v := range map[string]string{"server": w.serverURL(), "script": w.ScriptPath, "article": w.ArticlePath} {
		if v != "" {
			params[name] = v
		}
	}
	t := mime.FormatMediaType(TypeAPI, params)
	if id == "" || t == "" || len(t) > tidings.MaxContentTypeBytes {
		return "", tidings.Errorf(tidings.ErrInvalid, "recentchange: the names of the wiki %.80q are empty or have more than %d bytes together", id, tidings.MaxContentTypeBytes)
	}
	return t, nil
}

// decodeAPI reads a row of list=recentchanges in JSON, of formatversion 2, or of 1, which writes true as "".
func (rc *RecentChange) decodeAPI(contentType string, body []byte) error {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return fail(BadField, "the content type: %v", err)
	}
	var row apiRow
	if err := decodeObject(body, func(d *jsonDecoder) error {
		return d.object(func(name []byte) error { return d.column(rc, &row, string(name)) })
	}); err != nil {
		return err
	}
	if rc.Type == "" {
		return nil
	}
	fill(&rc.Wiki, params["wiki"])
	fill(&rc.ServerURL, params["server"])
	fill(&rc.ServerName, hostOf(params["server"]))
	fill(&rc.ServerScriptPath, params["script"])
	rc.articlePath = params["article"]
	if !strings.Contains(rc.articlePath, "$1") {
		rc.articlePath = ""
	}

	rc.Bot, rc.Redirect, rc.Anon = Some(row.bot), Some(row.redirect), Some(row.anon)
	if rc.Type == Edit || rc.Type == New {
		rc.Minor = Some(row.minor)
	}
	switch {
	case row.patrolled, row.autopatrolled:
		rc.Patrolled = Some(true)
	case row.unpatrolled:
		rc.Patrolled = Some(false)
	}
	rc.setNumbers(row.revision, row.length)
	if rc.Type == Log && (!rc.LogParams.IsSet() || rc.LogParams.v == "{}") {
		rc.LogParams = Some(JSON("[]"))
	}
	return nil
}

// apiRow holds the columns of a row that are no fields of RecentChange.
type apiRow struct {
	bot, minor, redirect, anon            bool
	patrolled, unpatrolled, autopatrolled bool
	revision, length                      Pair
}

// textColumn returns the place of a column that holds text, or nil.
func (rc *RecentChange) textColumn(name string) *Opt[string] {
	switch name {
	case "title":
		return &rc.Title
	case "user":
		return &rc.User
	case "comment":
		return &rc.Comment
	case "parsedcomment":
		return &rc.ParsedComment
	case "logtype":
		return &rc.LogType
	case "logaction":
		return &rc.LogAction
	case "new_title":
		return &rc.NewTitle
	}
	return nil
}

// numberColumn returns the place of a column that holds a whole number, or nil.
func (rc *RecentChange) numberColumn(row *apiRow, name string) *Opt[int64] {
	switch name {
	case "rcid":
		return &rc.ID
	case "ns":
		return &rc.Namespace
	case "pageid":
		return &rc.PageID
	case "userid":
		return &rc.UserID
	case "logid":
		return &rc.LogID
	case "new_ns":
		return &rc.NewNamespace
	case "revid":
		return &row.revision.New
	case "old_revid":
		return &row.revision.Old
	case "newlen":
		return &row.length.New
	case "oldlen":
		return &row.length.Old
	}
	return nil
}

// flagColumn returns the place of a column that is true or false, or nil.
func (row *apiRow) flagColumn(name string) *bool {
	switch name {
	case "bot":
		return &row.bot
	case "minor":
		return &row.minor
	case "redirect":
		return &row.redirect
	case "anon":
		return &row.anon
	case "patrolled":
		return &row.patrolled
	case "unpatrolled":
		return &row.unpatrolled
	case "autopatrolled":
		return &row.autopatrolled
	}
	return nil
}

// column reads the value of a column; null is as if it were not there. Those that are not known are passed over: sha1,
// the flags of what is hidden.
func (d *jsonDecoder) column(rc *RecentChange, row *apiRow, name string) error {
	v, err := d.dec.ReadValue()
	if err != nil {
		return jsonError(err)
	}
	kind := v.Kind()
	if kind == 'n' {
		return nil
	}
	if to := rc.textColumn(name); to != nil {
		switch kind {
		case '"':
			s, err := d.string(v)
			*to = Some(s)
			return err
		case '0': // a title or a name that PHP took for a number
			*to = Some(d.keep(v))
			return nil
		}
		return badColumn(name)
	}
	if to := rc.numberColumn(row, name); to != nil {
		if kind == '"' {
			v = v[1 : len(v)-1]
		}
		n, ok := decimalBytes(v)
		if !ok {
			return badColumn(name)
		}
		*to = Some(n)
		return nil
	}
	if to := row.flagColumn(name); to != nil {
		switch string(v) {
		case "true", `""`:
			*to = true
		case "false":
		default:
			return badColumn(name)
		}
		return nil
	}
	switch name {
	case "type":
		switch kind {
		case '"':
			rc.Type, err = d.typeName(v)
			return err
		case '0':
			rc.Type = d.keep(v)
			return nil
		}
		return badColumn(name)
	case "timestamp":
		var t time.Time
		if err := json.Unmarshal(v, &t); err != nil {
			return badColumn(name)
		}
		rc.Timestamp = Some(t.Unix())
	case "logparams":
		rc.LogParams.v, err = d.value(v)
		rc.LogParams.state = set
		return err
	case "tags":
		if err := json.Unmarshal(v, &rc.Tags); err != nil {
			return badColumn(name)
		}
	}
	return nil
}

func badColumn(name string) error {
	return fail(BadField, "the column %s has a value of the wrong type", name)
}
