package bearer

import (
	"net/http/httptest"
	"testing"

	"tidings"
)

func TestActor(t *testing.T) {
	auth := func(token string) (tidings.Actor, error) {
		if token != "good" {
			return tidings.Actor{}, tidings.ErrUnauthenticated
		}
		return tidings.Actor{Kind: tidings.Token, Name: "1"}, nil
	}
	for _, tt := range []struct {
		name    string
		headers []string
		want    string
		ok      bool
	}{
		{"none", nil, "anonymous", true},
		{"good", []string{"Bearer good"}, "token:1", true},
		{"scheme in another case, more spaces", []string{"bEARER   good "}, "token:1", true},
		{"wrong token", []string{"Bearer bad"}, "", false},
		{"empty", []string{""}, "", false},
		{"no token", []string{"Bearer"}, "", false},
		{"no token but a space", []string{"Bearer "}, "", false},
		{"other scheme", []string{"Basic good"}, "", false},
		{"two tokens", []string{"Bearer good good"}, "", false},
		{"list", []string{"Bearer good, Basic x"}, "", false},
		{"two headers", []string{"Bearer good", "Bearer good"}, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/?access_token=good", nil)
			for _, h := range tt.headers {
				r.Header.Add("Authorization", h)
			}
			a, err := Actor(r, auth)
			if tt.ok && (err != nil || a.String() != tt.want) {
				t.Errorf("actor = %v, %v; want %s", a, err, tt.want)
			}
			if !tt.ok && tidings.KindOf(err) != tidings.ErrUnauthenticated {
				t.Errorf("actor = %v, %v; want ErrUnauthenticated", a, err)
			}
		})
	}
}
