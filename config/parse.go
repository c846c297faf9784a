package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"tidings/recentchange"
)

// envPrefix begins the name of every variable.
const envPrefix = "TIDINGS_"

// Parse returns the defaults with what the file says instead, and with what the environment says instead of that. Name
// is the file's, for messages; a nil data is no file. The environment is as os.Environ returns it. The values are not
// yet checked against each other: that is for Validate, once flags have been applied.
//
// Errors name the file and line, or the variable. A key that is not known is one, with the key that was perhaps meant; so
// is a variable that is nearly the name of a key. Other variables that begin with TIDINGS_ are left alone: they may be a
// client's.
func Parse(name string, data []byte, environ []string) (Config, error) {
	c := Defaults()
	if err := c.parseFile(name, data); err != nil {
		return Config{}, err
	}
	if err := c.parseEnv(environ); err != nil {
		return Config{}, err
	}
	c.fillSources()
	c.fillComponents()
	c.fillBridges()
	return c, nil
}

func (c *Config) parseFile(name string, data []byte) error {
	// The decoder fills the elements of lists and tables that are there, so that a rule of the file would inherit from one
	// of the defaults.
	defaults := *c
	c.Retention, c.Wikis, c.HTTP.CORSOrigins, c.UDP.Allow, c.Access.Private, c.IRC.Channels = nil, nil, nil, nil, nil, nil
	c.PubSub.Admins, c.PubSub.Reserved = nil, nil
	md, err := toml.NewDecoder(bytes.NewReader(data)).Decode(c)
	if err != nil {
		return fileError(name, err)
	}
	if c.Retention == nil {
		c.Retention = defaults.Retention
	}
	if c.Wikis == nil {
		c.Wikis = defaults.Wikis
	}
	if c.HTTP.CORSOrigins == nil {
		c.HTTP.CORSOrigins = defaults.HTTP.CORSOrigins
	}
	if c.UDP.Allow == nil {
		c.UDP.Allow = defaults.UDP.Allow
	}
	if c.IRC.Channels == nil {
		c.IRC.Channels = defaults.IRC.Channels
	}
	if c.PubSub.Admins == nil {
		c.PubSub.Admins = defaults.PubSub.Admins
	}
	if c.PubSub.Reserved == nil {
		c.PubSub.Reserved = defaults.PubSub.Reserved
	}
	if c.Access.Private == nil {
		c.Access.Private = defaults.Access.Private
	}
	var errs []error
	for _, key := range md.Undecoded() {
		if len(key) > 1 && isUnknownTable(md.Undecoded(), key[:len(key)-1]) {
			continue // the table has been reported
		}
		msg := fmt.Sprintf("%s:%d: unknown key %s", name, lineOf(data, key), key)
		if near := nearKey(key); near != "" {
			msg += fmt.Sprintf(" (did you mean %s?)", near)
		}
		errs = append(errs, errors.New(msg))
	}
	return errors.Join(errs...)
}

func isUnknownTable(unknown []toml.Key, key toml.Key) bool {
	for _, k := range unknown {
		if k.String() == key.String() {
			return true
		}
	}
	return false
}

var decodeError = regexp.MustCompile(`^toml: line (\d+) \(last key "([^"]*)"\): (.*)$`)

// fileError returns the decoder's error in the form FILE:LINE: KEY: WHAT.
func fileError(name string, err error) error {
	var parse toml.ParseError
	if errors.As(err, &parse) {
		key := ""
		if parse.LastKey != "" {
			key = parse.LastKey + ": "
		}
		return fmt.Errorf("%s:%d: %s%s", name, parse.Position.Line, key, parse.Message)
	}
	if m := decodeError.FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s:%s: %s: %s", name, m[1], m[2], typeError(m[3]))
	}
	return fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "toml: "))
}

var incompatible = regexp.MustCompile(`TOML value has type (\w+); destination has type (\w+)`)

func typeError(msg string) string {
	m := incompatible.FindStringSubmatch(msg)
	if m == nil {
		return msg
	}
	names := map[string]string{"slice": "a list", "string": "a string", "integer": "a whole number", "int64": "a whole number", "float": "a number", "float64": "a number",
		"boolean": "true or false", "bool": "true or false"}
	say := func(s string) string {
		if n := names[s]; n != "" {
			return n
		}
		return "a " + s
	}
	return fmt.Sprintf("want %s, not %s", say(m[2]), strings.Replace(say(m[1]), "true or false", "a boolean", 1))
}

// lineOf returns the line in which the key of a valid file is set, or 1. The decoder knows and does not tell; this reads
// table headers and the beginnings of lines, which is exact but for keys inside of inline tables and long strings.
func lineOf(data []byte, key toml.Key) int {
	table, want, last := "", key.String(), key[len(key)-1]
	near := 0
	for i, line := range strings.Split(string(data), "\n") {
		text := strings.TrimSpace(line)
		if strings.HasPrefix(text, "[") && !strings.Contains(text, "=") {
			if head, _, ok := strings.Cut(strings.TrimLeft(text, "["), "]"); ok {
				table = normal(head)
				if table == want {
					return i + 1
				}
			}
			continue
		}
		left, _, ok := strings.Cut(text, "=")
		if !ok || strings.HasPrefix(text, "#") {
			continue
		}
		full := normal(left)
		if table != "" {
			full = table + "." + full
		}
		if full == want || strings.HasPrefix(full, want+".") {
			return i + 1
		}
		if near == 0 && strings.HasPrefix(want, full) && strings.Contains(text, last) {
			near = i + 1
		}
	}
	return max(near, 1)
}

// normal writes a dotted key as toml.Key.String does.
func normal(key string) string {
	var out toml.Key
	for _, part := range strings.Split(key, ".") {
		out = append(out, strings.Trim(strings.TrimSpace(part), `"'`))
	}
	return out.String()
}

// field is one key of the configuration.
type field struct {
	key   toml.Key
	value reflect.Value
}

func (f field) env() string {
	return envPrefix + strings.ToUpper(strings.Join(f.key, "_"))
}

// fields returns the keys of the struct, which may have sections but no sections within them.
func (c *Config) fields() []field {
	var fs []field
	var walk func(v reflect.Value, at toml.Key)
	walk = func(v reflect.Value, at toml.Key) {
		for i := range v.NumField() {
			key := append(slices.Clone(at), v.Type().Field(i).Tag.Get("toml"))
			if f := v.Field(i); f.Kind() == reflect.Struct {
				walk(f, key)
			} else {
				fs = append(fs, field{key, f})
			}
		}
	}
	walk(reflect.ValueOf(c).Elem(), nil)
	return fs
}

func (c *Config) parseEnv(environ []string) error {
	byName := map[string]field{}
	for _, f := range c.fields() {
		byName[f.env()] = f
	}
	var errs []error
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) {
			continue
		}
		f, ok := byName[name]
		if !ok {
			for known := range byName {
				if distance(name, known) <= 2 {
					errs = append(errs, fmt.Errorf("the environment variable %s is not known (did you mean %s?)", name, known))
					break
				}
			}
			continue
		}
		if err := f.set(value); err != nil {
			errs = append(errs, fmt.Errorf("the environment variable %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// set sets the field from the value of a variable.
func (f field) set(s string) error {
	if u, ok := f.value.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(s))
	}
	switch f.value.Kind() {
	case reflect.String:
		f.value.SetString(s)
		return nil
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		f.value.SetBool(b)
		return nil
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		f.value.SetInt(int64(n))
		return nil
	case reflect.Float64:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		f.value.SetFloat(n)
		return nil
	case reflect.Slice:
		if f.value.Type().Elem().Kind() == reflect.String {
			words := []string{}
			for _, w := range strings.Split(s, ",") {
				if w = strings.TrimSpace(w); w != "" {
					words = append(words, w)
				}
			}
			f.value.Set(reflect.ValueOf(words))
			return nil
		}
	}
	// A list of tables or a table, written as TOML in one line.
	into := reflect.New(reflect.MapOf(reflect.TypeFor[string](), f.value.Type()))
	md, err := toml.Decode("x = "+s, into.Interface())
	if err != nil {
		var parse toml.ParseError
		if errors.As(err, &parse) {
			return errors.New(parse.Message)
		}
		return errors.New(strings.TrimPrefix(err.Error(), "toml: "))
	}
	if u := md.Undecoded(); len(u) > 0 {
		return fmt.Errorf("unknown key %s", u[0][1:])
	}
	if len(md.Keys()) == 0 || into.Elem().Len() != 1 {
		return errors.New("want one value")
	}
	f.value.Set(into.Elem().MapIndex(reflect.ValueOf("x")))
	return nil
}

// nearKey returns the known key or section that was perhaps meant, or "".
func nearKey(key toml.Key) string {
	c := Defaults()
	var known []toml.Key
	for _, f := range c.fields() {
		known = append(known, f.key)
	}
	tags := func(table toml.Key, t reflect.Type) {
		for i := range t.NumField() {
			known = append(known, append(slices.Clone(table), t.Field(i).Tag.Get("toml")))
		}
	}
	tags(toml.Key{"retention"}, reflect.TypeFor[Retention]())
	tags(toml.Key{"poll"}, reflect.TypeFor[Poll]())
	tags(toml.Key{"eventstreams"}, reflect.TypeFor[EventStreams]())
	tags(toml.Key{"redis"}, reflect.TypeFor[Redis]())
	tags(toml.Key{"component"}, reflect.TypeFor[Component]())
	tags(toml.Key{"bridge"}, reflect.TypeFor[Bridge]())
	tags(toml.Key{"bridge", "rooms"}, reflect.TypeFor[BridgeRoom]())
	tags(toml.Key{"xmpp", "rooms"}, reflect.TypeFor[Room]())
	if len(key) == 3 && key[0] == "wikis" {
		tags(key[:2], reflect.TypeFor[recentchange.Wiki]())
	}
	best, least := "", 1000
	offer := func(what string, d int) {
		if d < least {
			best, least = what, d
		}
	}
	last := key[len(key)-1]
	for _, k := range known {
		if d := distance(key.String(), k.String()); d <= 2 {
			offer(k.String(), d)
		}
		if len(k) == 2 && len(key) == 1 {
			if d := distance(last, k[0]); d <= 1 {
				offer("["+k[0]+"]", d)
			}
		}
		// The right word, or nearly, in the wrong section.
		if d := distance(last, k[len(k)-1]); d <= 1 && len(last) > 2 {
			offer(k.String(), d+2)
		}
	}
	return best
}

// distance returns how many characters have to be added, removed or changed to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := prev
			if a[i] != b[j] {
				cost = 1 + min(prev, row[j], row[j+1])
			}
			prev, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// TOML returns the effective values as a file that Parse reads. Passwords and tokens
// are replaced by xxxxx.
func (c Config) TOML() string {
	c = c.withoutSecrets()
	urls := strings.Split(c.NATSURL, ",")
	for i, s := range urls {
		urls[i] = redacted(strings.TrimSpace(s))
	}
	c.NATSURL = strings.Join(urls, ",")
	var b strings.Builder
	enc := toml.NewEncoder(&b)
	enc.Indent = ""
	if err := enc.Encode(c); err != nil {
		panic("config: a struct that cannot be written: " + err.Error())
	}
	return b.String()
}
