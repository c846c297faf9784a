package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"tidings"
)

// User describes an account of the server's XMPP side.
type User struct {
	Name    string    `json:"name"` // the part of the address before the @
	Created time.Time `json:"created,omitzero"`
	Changed time.Time `json:"changed,omitzero"` // when the password was last set
}

const usersPath = "/users"

// Users returns the server's accounts, by name. It needs the admin token, like the other methods about accounts.
func (c *Client) Users(ctx context.Context) ([]User, error) {
	var answer struct{ Users []User }
	err := c.get(ctx, usersPath, nil, &answer)
	return answer.Users, err
}

// AddUser makes an account and returns it with its name as the server has it, in small letters for instance. The password
// goes to the server as it is, so the connection has to be one that nobody reads along.
func (c *Client) AddUser(ctx context.Context, name, password string) (User, error) {
	answer, err := c.sendUser(ctx, http.MethodPost, usersPath, map[string]string{"name": name, "password": password})
	if err != nil {
		return User{}, err
	}
	u := User{Name: name}
	return u, decode(usersPath, answer, &u)
}

// SetPassword gives an account another password, and ends the sessions that were opened with the old one.
func (c *Client) SetPassword(ctx context.Context, name, password string) error {
	_, err := c.sendUser(ctx, http.MethodPatch, usersPath+"/"+url.PathEscape(name), map[string]string{"password": password})
	return err
}

// RemoveUser removes an account and ends its sessions.
func (c *Client) RemoveUser(ctx context.Context, name string) error {
	_, _, err := c.call(ctx, http.MethodDelete, c.at(usersPath+"/"+url.PathEscape(name), nil), nil, nil)
	return err
}

func (c *Client) sendUser(ctx context.Context, method, path string, in map[string]string) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, tidings.Errorf(tidings.ErrInvalid, "client: %w", err)
	}
	_, answer, err := c.call(ctx, method, c.at(path, nil), http.Header{"Content-Type": {"application/json"}}, body)
	return answer, err
}
