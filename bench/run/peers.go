//go:build linux

package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nchan: a module of nginx, as Debian has it (packages nginx and libnginx-mod-nchan). One worker process, because a second
// would share two cores with the load generator; its own documentation says that one serves well.

const nchanModule = "/usr/lib/nginx/modules/ngx_nchan_module.so"

const nchanConfig = `load_module %s;
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid %s/nginx.pid;
error_log stderr warn;
events { worker_connections 19000; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  keepalive_requests 1000000000;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:%d backlog=4096;
    location ~ ^/pub/(.+)$ {
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 1000;
    }
    location ~ ^/sub/(.+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
    location ~ ^/ws/(.+)$ {
      nchan_subscriber websocket;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
  }
}
`

func prepareNchan(context.Context, *bench) (string, error) {
	if _, err := os.Stat(nchanModule); err != nil {
		return "", errors.New("not installed: apt-get install nginx libnginx-mod-nchan")
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("nginx is not installed")
}

func startNchan(ctx context.Context, b *bench, program string) (*target, error) {
	dir, err := b.folder("nchan")
	if err != nil {
		return nil, err
	}
	// The worker runs as another user than root and has to reach its temporary folders.
	if err := os.Chmod(b.work, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nchanConfig, nchanModule, dir, port), 0o644); err != nil {
		return nil, err
	}
	p, err := spawn("nchan", dir, filepath.Join(dir, "log"), program, "-c", conf, "-p", dir, "-e", "stderr")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := answers(ctx, p, "http://"+addr+"/"); err != nil {
		p.kill()
		return nil, err
	}
	return &target{name: "nchan", proc: p,
		subscribe: []string{"-proto", "sse", "-addr", addr, "-path", "/sub/{n}", "-otherpath", "/sub/other-{n}"},
		webSocket: []string{"-proto", "ws", "-addr", addr, "-path", "/ws/{n}"},
		publish:   []string{"-pub", "http", "-pubto", "http://" + addr + "/pub/{n}"}}, nil
}

// goProgram finds a program in the benchmark's folder or in PATH, or else builds it from its published module.
func (b *bench) goProgram(ctx context.Context, name, module, version, pkg, tags string) (string, error) {
	out := filepath.Join(b.bin, name)
	if _, err := os.Stat(out); err == nil {
		return out, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	// A module of its own, because `go install` insists on the list of all versions, which not every proxy has.
	dir, err := os.MkdirTemp("", "tidings-bench-"+name)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	mod := fmt.Sprintf("module peer\n\ngo 1.26.0\n\nrequire %s %s\n", module, version)
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=mod", "-trimpath", "-tags", tags, "-o", out, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		return "", fmt.Errorf("it cannot be built from its module: %w: %s", err, lines[len(lines)-1])
	}
	return out, nil
}

// Mercure: the hub of its authors without Caddy in front, in memory, no history kept.

func prepareMercure(ctx context.Context, b *bench) (string, error) {
	const module = "github.com/dunglas/mercure"
	return b.goProgram(ctx, "mercure", module, "v0.24.2", module+"/cmd/mercure", "deprecated_server,deprecated_transport")
}

func startMercure(ctx context.Context, b *bench, program string) (*target, error) {
	dir, err := b.folder("mercure")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	const key = "a key for this benchmark and nothing else"
	p, err := spawn("mercure", dir, filepath.Join(dir, "log"), program, "--addr", addr, "--jwt-key", key, "--allow-anonymous",
		"--transport-url", "local://local", "--write-timeout", "0s", "--dispatch-timeout", "0s")
	if err != nil {
		return nil, err
	}
	if err := answers(ctx, p, "http://"+addr+"/"); err != nil {
		p.kill()
		return nil, err
	}
	const hub = "/.well-known/mercure"
	topic := url.QueryEscape("https://bench.example/")
	return &target{name: "mercure", proc: p,
		subscribe: []string{"-proto", "sse", "-addr", addr, "-path", hub + "?topic=" + topic + "{n}",
			"-otherpath", hub + "?topic=" + topic + "other-{n}"},
		publish: []string{"-pub", "http", "-pubto", "http://" + addr + hub, "-pubtype", "application/x-www-form-urlencoded",
			"-body", "topic=" + topic + "{n}&data={text}",
			"-pubheader", "Authorization: Bearer " + token(key, `{"mercure":{"publish":["*"]}}`)}}, nil
}

// token signs claims as a JSON Web Token with HMAC-SHA-256 (RFC 7515 appendix A.1).
func token(key, claims string) string {
	enc := base64.RawURLEncoding.EncodeToString
	signed := enc([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + enc([]byte(claims))
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + enc(mac.Sum(nil))
}

// Centrifugo: its in-memory engine, one-way SSE.

func prepareCentrifugo(ctx context.Context, b *bench) (string, error) {
	const module = "github.com/centrifugal/centrifugo/v6"
	return b.goProgram(ctx, "centrifugo", module, "v6.9.1", module, "")
}

func startCentrifugo(ctx context.Context, b *bench, program string) (*target, error) {
	dir, err := b.folder("centrifugo")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	conf, err := json.Marshal(map[string]any{
		"http_server": map[string]any{"address": "127.0.0.1", "port": port},
		"log":         map[string]any{"level": "warn"},
		"client":      map[string]any{"insecure": true, "allowed_origins": []string{"*"}},
		"http_api":    map[string]any{"insecure": true},
		"uni_sse":     map[string]any{"enabled": true},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, conf, 0o644); err != nil {
		return nil, err
	}
	p, err := spawn("centrifugo", dir, filepath.Join(dir, "log"), program, "-c", file)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := answers(ctx, p, "http://"+addr+"/"); err != nil {
		p.kill()
		return nil, err
	}
	connect := func(channel string) string {
		q := url.QueryEscape(`{"subs":{"` + channel + `":{}}}`)
		return "/connection/uni_sse?cf_connect=" + strings.ReplaceAll(q, "%7Bn%7D", "{n}")
	}
	return &target{name: "centrifugo", proc: p,
		subscribe: []string{"-proto", "sse", "-addr", addr, "-path", connect("bench-{n}"), "-otherpath", connect("other-{n}"),
			"-await", "\n\n"}, // the answer to the connect request
		publish: []string{"-pub", "http", "-pubto", "http://" + addr + "/api/publish", "-pubtype", "application/json",
			"-body", `{"channel":"bench-{n}","data":{"text":"{text}"}}`}}, nil
}
