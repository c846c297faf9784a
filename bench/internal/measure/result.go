// Package measure holds what the load generator and the driver of the benchmark share: the result line and the reading
// of a process's cost from /proc (proc(5)).
package measure

// Result is what one run of the load generator prints as one JSON line. Times are in milliseconds where the name ends in
// _ms, in microseconds where it ends in _us; sizes are bytes.
type Result struct {
	Label        string    `json:"label,omitempty"`
	Protocol     string    `json:"protocol"`
	Subscribers  int       `json:"subscribers"` // that read and are counted
	Bystanders   int       `json:"bystanders,omitempty"`
	Stalled      int       `json:"stalled,omitempty"` // connected, never read
	Topics       int       `json:"topics"`
	Events       int       `json:"events"` // published without an error
	EventBytes   int       `json:"event_bytes"`
	Window       int       `json:"window,omitempty"`          // closed loop: events in flight
	Rate         float64   `json:"rate,omitempty"`            // open loop: events a second
	ConnectS     float64   `json:"connect_s,omitempty"`       // to open all subscribers
	ConnectSteps []float64 `json:"connect_steps_s,omitempty"` // of it, to open those up to each number of -memory
	Seconds      float64   `json:"seconds"`                   // from the first publish to the last delivery or acknowledgement
	Expected     int64     `json:"expected"`                  // deliveries
	Delivered    int64     `json:"delivered"`                 // without repeats
	WireBytes    int       `json:"wire_bytes,omitempty"`      // a delivery, with all that the protocol puts around the event
	Repeated     int64     `json:"repeated,omitempty"`        // deliveries beyond those expected
	Closed       int       `json:"closed,omitempty"`          // connections the server ended
	PubErrors    int64     `json:"pub_errors,omitempty"`      // publishes that failed
	PerSecond    float64   `json:"deliveries_per_s"`
	AckPerS      float64   `json:"acknowledged_per_s"`
	P50          float64   `json:"p50_ms"` // publish to delivery; without subscribers publish to acknowledgement
	P99          float64   `json:"p99_ms"`
	Max          float64   `json:"max_ms"`
	CPUDelivery  float64   `json:"server_cpu_us_per_delivery"`
	CPUEvent     float64   `json:"server_cpu_us_per_event"`
	CPUShare     float64   `json:"server_cpu_cores"`
	GenShare     float64   `json:"loadgen_cpu_cores"`
	PSS          int64     `json:"server_pss,omitempty"`      // with all subscribers connected, before the first event
	PSSPeak      int64     `json:"server_pss_peak,omitempty"` // sampled during delivery
	PSSPerConn   float64   `json:"server_pss_per_conn,omitempty"`
	UDPDrops     int64     `json:"udp_kernel_drops"` // at the server's receive buffer
}

// Complete says whether every event was published, and delivered once to everyone it was for.
func (r Result) Complete() bool {
	return r.PubErrors == 0 && r.Delivered == r.Expected && r.Repeated == 0 && r.Closed == 0
}
