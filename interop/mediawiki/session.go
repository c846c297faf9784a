//go:build linux

package mediawiki

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"strings"
)

// params are the parameters of a call to the action API.
type params map[string]string

// session is one visitor of the wiki: its cookies, its address and its edit token.
type session struct {
	wiki    *Wiki
	http    http.Client
	address string // what X-Forwarded-For says
	token   string
}

// anonymous returns a visitor from an address who has not logged in.
func (w *Wiki) anonymous(address string) *session {
	jar, _ := cookiejar.New(nil) // no options, no error
	return &session{wiki: w, http: http.Client{Jar: jar}, address: address, token: `+\`}
}

// login returns a visitor with an account.
func (w *Wiki) login(ctx context.Context, user, pass string) (*session, error) {
	s := w.anonymous("198.51.100.10")
	token, err := s.tokenOf(ctx, "login")
	if err != nil {
		return nil, err
	}
	r, err := s.call(ctx, "clientlogin", params{"username": user, "password": pass, "logintoken": token,
		"loginreturnurl": Server + "/"})
	if err != nil {
		return nil, err
	}
	if status := r.text("clientlogin", "status"); status != "PASS" {
		return nil, fmt.Errorf("mediawiki: login of %s: %s", user, status)
	}
	if s.token, err = s.tokenOf(ctx, "csrf"); err != nil {
		return nil, err
	}
	return s, nil
}

// tokenOf asks for a token of a kind: csrf, login, patrol, rollback, userrights, createaccount.
func (s *session) tokenOf(ctx context.Context, kind string) (string, error) {
	r, err := s.call(ctx, "query", params{"meta": "tokens", "type": kind})
	if err != nil {
		return "", err
	}
	return r.text("query", "tokens", kind+"token"), nil
}

// reply is what the API answered.
type reply map[string]any

// at follows keys (string) and indices (int) into the reply; nil where the way ends.
func (r reply) at(path ...any) any {
	var v any = map[string]any(r)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// text is at for strings and numbers.
func (r reply) text(path ...any) string {
	switch v := r.at(path...).(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// call makes one call as multipart/form-data, which takes any text.
func (s *session) call(ctx context.Context, action string, p params) (reply, error) {
	return s.send(ctx, action, p, "", nil)
}

// do is call with the edit token.
func (s *session) do(ctx context.Context, action string, p params) (reply, error) {
	p["token"] = s.token
	return s.call(ctx, action, p)
}

func (s *session) send(ctx context.Context, action string, p params, name string, file []byte) (reply, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	form.WriteField("action", action)
	form.WriteField("format", "json")
	form.WriteField("formatversion", "2")
	for k, v := range p {
		form.WriteField(k, v)
	}
	if file != nil {
		part, err := form.CreateFormFile("file", name)
		if err != nil {
			return nil, err
		}
		part.Write(file)
	}
	form.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.wiki.URL+"/api.php", &body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("X-Forwarded-For", s.address)
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("mediawiki: %s: %w", action, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("mediawiki: %s: %w", action, err)
	}
	var r reply
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&r); err != nil {
		return nil, fmt.Errorf("mediawiki: %s answered %s: %.200s", action, resp.Status, answer)
	}
	if info := r.text("error", "info"); info != "" {
		return nil, fmt.Errorf("mediawiki: %s: %s", action, info)
	}
	if result := r.text(action, "result"); result == "Failure" || result == "Warning" {
		return nil, fmt.Errorf("mediawiki: %s: %.300s", action, answer)
	}
	return r, nil
}

// RecentChange is a row of the wiki's own list of recent changes.
type RecentChange struct {
	RCID          int64  `json:"rcid"`
	Type          string `json:"type"`
	Title         string `json:"title"`
	User          string `json:"user"`
	Comment       string `json:"comment"`
	LogType       string `json:"logtype"`
	LogAction     string `json:"logaction"`
	UserHidden    bool   `json:"userhidden"`
	CommentHidden bool   `json:"commenthidden"`
}

// RecentChanges returns what the wiki itself lists, oldest first. It does not list entries of the patrol and tag logs,
// nor the changes of pages that have been deleted since.
func (w *Wiki) RecentChanges(ctx context.Context) ([]RecentChange, error) {
	s, err := w.login(ctx, admin, password)
	if err != nil {
		return nil, err
	}
	var all []RecentChange
	p := params{"list": "recentchanges", "rcprop": "ids|title|user|comment|loginfo", "rctype": "edit|new|log|categorize",
		"rcdir": "newer", "rclimit": "max"}
	for {
		r, err := s.call(ctx, "query", p)
		if err != nil {
			return nil, err
		}
		page, err := json.Marshal(r.at("query", "recentchanges"))
		if err != nil {
			return nil, err
		}
		var rows []RecentChange
		if err := json.Unmarshal(page, &rows); err != nil {
			return nil, fmt.Errorf("mediawiki: recent changes: %w", err)
		}
		all = append(all, rows...)
		if p["rccontinue"] = r.text("continue", "rccontinue"); p["rccontinue"] == "" {
			return all, nil
		}
	}
}

var errNoResult = errors.New("mediawiki: the API answered without the result the script needs")

// need is text for a value that has to be there.
func (r reply) need(path ...any) (string, error) {
	if v := r.text(path...); v != "" {
		return v, nil
	}
	var names []string
	for _, p := range path {
		names = append(names, fmt.Sprint(p))
	}
	return "", fmt.Errorf("%w: %s", errNoResult, strings.Join(names, "."))
}
