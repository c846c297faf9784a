package outlettest

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// Client returns a client of HTTP whose connections have a receive buffer of so many bytes, set before they connect; 0 for the
// system's.
func Client(receiveBuffer int) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: Dialer(receiveBuffer).DialContext}}
}

// Listen serves HTTP for the world. stop, which may be called again, stops listening and waits for the requests; connections that
// the edge has taken over go on. It is called at the end of the test at the latest.
func (w *World) Listen(h http.Handler) (addr string, stop func()) {
	w.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(ln)
	}()
	stop = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			w.Error(err)
		}
		<-done
	})
	w.Cleanup(stop)
	return ln.Addr().String(), stop
}
