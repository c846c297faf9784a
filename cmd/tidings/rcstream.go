package main

// rcstreamStatus is what /status tells of RCStream; Socket.IO 0.9 carries nothing else.
type rcstreamStatus struct {
	Sessions  int               `json:"sessions"`  // those that have not opened a transport included
	Connected int64             `json:"connected"` // clients, as /rcstream_status has them
	Ended     map[string]uint64 `json:"ended"`
	Dropped   map[string]uint64 `json:"dropped"`
}
