package client_test

import (
	"encoding/binary"
	"os"
	"testing"

	"tidings"
	"tidings/client"
	"tidings/recentchange"
)

// Real changes mean the same here as in package recentchange, in each form that is read here.
func TestRecentChange(t *testing.T) {
	api, err := recentchange.APIType("gardenwiki", recentchange.Wiki{ServerURL: "https://garden.example.org:8443"})
	if err != nil {
		t.Fatal(err)
	}
	for file, typ := range map[string]string{
		"capture/json.datagrams": recentchange.TypeJSON,
		"capture/rc.datagrams":   recentchange.TypeRC,
		"api/api.datagrams":      api,
	} {
		data, err := os.ReadFile("../recentchange/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, payload := range split(data) {
			want, err := recentchange.Decode(typ, payload)
			if err != nil || want == nil || want.Type == "" {
				continue
			}
			n++
			for _, form := range []struct {
				typ     string
				payload []byte
			}{{typ, payload}, {recentchange.TypeRC, want.AppendRC(nil)}} {
				got, ok := client.Event{ContentType: form.typ, Payload: form.payload}.RecentChange()
				rev, length := want.Revision.Value(), want.Length.Value()
				if !ok || got.ID != want.ID.Value() || got.Type != want.Type || got.Namespace != want.Namespace.Value() || got.Title != want.Title.Value() ||
					got.User != want.User.Value() || got.Comment != want.Comment.Value() || got.Bot != want.Bot.Value() || got.Minor != want.Minor.Value() ||
					got.New != (want.Type == recentchange.New) || got.Wiki != want.Wiki.Value() || !got.Time.Equal(want.Time()) {
					t.Errorf("%s, %s\nis  %+v\nnot %+v", file, form.payload, got, want)
				}
				if rev.New.IsSet() && got.Revision != rev.New.Value() || rev.Old.IsSet() && got.OldRevision != rev.Old.Value() ||
					length.New.IsSet() && got.Length != length.New.Value() || length.Old.IsSet() && got.OldLength != length.Old.Value() {
					t.Errorf("%s, %s\nhas other numbers: %+v", file, form.payload, got)
				}
				if want.Type == recentchange.Log && (got.LogType != want.LogType.Value() || got.LogAction != want.LogAction.Value() || form.typ != recentchange.TypeRC && got.LogID != want.LogID.Value()) {
					t.Errorf("%s, %s\nis another log entry: %+v", file, form.payload, got)
				}
				if form.typ == api && got.Server != "garden.example.org" || form.typ == recentchange.TypeJSON && got.Server != want.ServerName.Value() {
					t.Errorf("%s is of %q", form.payload, got.Server)
				}
			}
		}
		if n < 10 {
			t.Errorf("%s has %d changes only", file, n)
		}
	}
}

// split returns the datagrams of a capture: each follows its length, of four bytes.
func split(data []byte) (datagrams [][]byte) {
	for len(data) >= 4 {
		n := binary.BigEndian.Uint32(data)
		datagrams = append(datagrams, data[4:4+n])
		data = data[4+n:]
	}
	return datagrams
}

func TestRecentChangeInEntry(t *testing.T) {
	e := client.Event{ContentType: "application/atom+xml;type=entry", Payload: []byte(`<entry xmlns="http://www.w3.org/2005/Atom"><title>T</title><rc xmlns="" type="edit" title="T" rcid="7"/></entry>`)}
	if rc, ok := e.RecentChange(); !ok || rc.ID != 7 || rc.Title != "T" {
		t.Errorf("%+v, %v", rc, ok)
	}
}

func TestNoRecentChange(t *testing.T) {
	for _, e := range []client.Event{
		{},
		{ContentType: "application/json", Payload: []byte(`{"type":"edit"}`)},
		{ContentType: recentchange.TypeJSON, Payload: []byte(`{}`)},
		{ContentType: recentchange.TypeJSON, Payload: []byte(`{"type":{}}`)},
		{ContentType: recentchange.TypeJSON, Payload: []byte(`{"type":"edit","length":7}`)},
		{ContentType: recentchange.TypeRC, Payload: []byte(`<rc/>`)},
		{ContentType: recentchange.TypeRC, Payload: []byte(`<other type='edit'/>`)},
		{ContentType: recentchange.TypeRC, Payload: []byte(`<rc type='edit'>`)},
		{ContentType: recentchange.TypeIRC, Payload: []byte(`x`)},
		{ContentType: "application/atom+xml", Payload: []byte(`<entry><rc xmlns="urn:x" type="edit"/></entry>`)},
		{ContentType: "application/atom+xml", Payload: []byte(`<entry>`)},
		{ContentType: recentchange.TypeRC, Kind: tidings.Retract},
	} {
		if rc, ok := e.RecentChange(); ok {
			t.Errorf("%+v is %+v", e, rc)
		}
	}
}
