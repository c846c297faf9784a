//go:build linux

package main

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	last := -1
	for _, v := range []int64{0, 1, 63, 64, 127, 128, 129, 130, 255, 256, 1000, 1 << 20, 1<<20 + 1<<14, 1 << 40, 1<<63 - 1} {
		b := bucketOf(v)
		if b < last {
			t.Errorf("bucket of %d is %d, below that of a smaller value", v, b)
		}
		last = b
		if top := topOf(b); top < v || float64(top-v) > float64(v)/subBuckets {
			t.Errorf("%d is in a bucket whose top is %d", v, top)
		}
	}
	if n := len(histogram{}.counts); last >= n {
		t.Errorf("the largest value is in bucket %d of %d", last, n)
	}
}

func TestQuantiles(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	all := make([]int64, 10_001)
	for i := range all {
		all[i] = int64(rnd.ExpFloat64() * float64(5*time.Millisecond))
		h.add(time.Duration(all[i]))
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)-1))]
		got := int64(h.quantile(q))
		if off := float64(got-want) / float64(want); off < -0.001 || off > 1.0/subBuckets+0.001 {
			t.Errorf("quantile %g is %d, the exact one %d", q, got, want)
		}
	}
	if int64(h.quantile(1)) != all[len(all)-1] {
		t.Error("the maximum is not exact")
	}
	h.add(-time.Second)
	if h.counts[0] == 0 {
		t.Error("a negative duration is not counted as zero")
	}
}
