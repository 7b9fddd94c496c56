package replica

import (
	"container/heap"
	"time"
)

// pending is an object that has history until a version of it has spread.
type pending struct {
	spread time.Time
	table  table
	id     string
	born   uint64
}

// history is what is to be dropped, soonest first. Without it a deleted object would stay, in the indexes too, until somebody wrote
// under its id again, which nobody does: ids are fresh.
type history struct{ queue queue }

func (h *history) add(p pending) { heap.Push(&h.queue, p) }

// settle drops what has spread by now. Each write pays for the ones before it.
func (h *history) settle(now time.Time) {
	for len(h.queue) > 0 && !h.queue[0].spread.After(now) {
		p := heap.Pop(&h.queue).(pending)
		p.table.settle(p.id, p.born, now)
	}
}

// queue implements [heap.Interface]: lags change, so what was written later may have spread sooner.
type queue []pending

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].spread.Before(q[j].spread) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(p any)        { *q = append(*q, p.(pending)) }

func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = pending{}
	*q = (*q)[:last]
	return p
}
