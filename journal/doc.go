// Package journal is the durable log: one ordered sequence of events, appended at the end and read with a cursor.
//
// There are two of them with the same behaviour, which package journaltest asserts: [Memory] for tests, and [JetStream]
// on a NATS server in the process or reached by URL.
//
// # Stored form
//
// A JetStream journal is one stream, named by Options.Stream (here tidings), with file storage and direct get. Its
// metadata holds tidings.epoch, eight hexadecimal digits chosen at random when the stream was made; never 0. The offset
// of a position is the stream sequence of its message. Messages on these subjects make up the stream:
//
//	tidings.t.<segment>...<segment>._   an event; one subject per topic
//	tidings.m.<publisher>               the last Mark of a publisher
//	tidings.r.lost                      what retention has removed
//
// A segment or a publisher is one token, in which % . * > and the space are written as % and two upper-case hexadecimal
// digits, and an empty one as a single %. The token _ ends every topic, so that the filter tidings.t.a.> selects the
// topic /a as well as all below it.
//
// The data of an event's message is the Payload as it was received. Its other fields are NATS headers; a field that is
// empty has none. In a value % is written as %25, and a space at either end as %20, since header parsers trim those.
//
//	Nats-Msg-Id         Key; JetStream itself refuses a repeat within the deduplication window
//	Content-Type        ContentType
//	Tidings-Id          ID
//	Tidings-Kind        retract; none for publish
//	Tidings-Time        Time, RFC 3339 with nanoseconds, in UTC
//	Tidings-Publisher   Publisher
//	Tidings-Mark        Mark
//
// The data of a mark's message is the Mark. It is written directly behind the last event with a mark that its publisher
// has in a commit, whether that event was new or a repeat; the last message of the subject is the one that counts.
// The others are purged now and then, and a mark that would fall off the old end is appended again first.
//
// The data of a tidings.r.lost message is text in lines: "cut N" (no event up to sequence N is kept), "rest N" (of
// topics not listed, events up to N may have been removed), "head N" (the last event there was), and one line "N TOPIC" for each
// topic that has lost events, with the sequence of the last one lost. It is stored before the events it speaks of are
// purged, the last message counts, and at 256 KiB the topics with the lowest sequences go into the rest. So Read knows
// for each topic, after a restart too, whether a position has a gap behind it: a quiet topic has none, however old
// the position is.
//
// A bucket is the JetStream key-value bucket tidings_<name>. In a key every byte but letters, digits, _ and - is written
// as = and two upper-case hexadecimal digits.
//
// # Commits
//
// What calls of Append have queued while the last batch was published makes up the next one, up to 500 events; an idle
// journal starts at once. Embedded, a batch's messages are published without waiting in between, and JetStream's
// acknowledgements, which follow the write to the file, taken in. A second goroutine then syncs the block files that all
// batches published so far have written to, once, while the first goes on. Only after that do Head and the tail in
// memory move and the callers return.
//
// JetStream's own sync_always is not used for this, because it costs one fsync a message; its atomic batches do with
// one for the data but have three more for a staging directory, and took about 3 ms of fixed cost for a batch however
// small (nats-server 2.15.2). The price is that the journal knows where JetStream keeps its blocks:
// DIR/jetstream/$G/streams/tidings/msgs/N.blk, the highest N being appended to and each message stored contiguous and
// uncompressed in one of them. Each commit checks that: the blocks it syncs must have grown by the length of its
// records at least, else the whole directory is synced, which needs no knowledge of the layout, and a warning is
// logged. Removing old events may rewrite a block by writing a new file and renaming it; the directory is synced right
// after. A machine that loses power in between relies on its filesystem not to make the rename durable before the data,
// as ext4 does by default.
//
// By URL, durability is the cluster's (its sync_interval or sync_always, and Replicas). A commit is then one
// publish or one atomic batch. Reading uses batched direct gets. Where a replica that lags behind answered, the leader
// is asked before an answer is called complete.
package journal
