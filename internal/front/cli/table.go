package cli

import "strings"

// column is a column of a table. One that bends wraps its cells when the table is wider than the terminal; the others, which hold ids
// to be copied, never break.
type column struct {
	head  string
	bends bool
}

const leastBent = 16 // columns below which a bent cell is unreadable

// table writes rows under heads. Where even bent columns do not fit it writes each row as a list of its fields instead.
func (p *printer) table(columns []column, rows [][]string) {
	width := make([]int, len(columns))
	for i, c := range columns {
		width[i] = cells(c.head)
	}
	for _, row := range rows {
		for i := range row {
			row[i] = clean(row[i])
			width[i] = max(width[i], cells(row[i]))
		}
	}
	if !fit(columns, width, p.width) {
		p.stacked(columns, rows)
		return
	}
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.head
	}
	p.row(heads, width, dim)
	for _, row := range rows {
		p.row(row, width, plain)
	}
}

// fit narrows the bending columns, widest first, until the table fits the room; false means that it cannot.
func fit(columns []column, width []int, room int) bool {
	if room == 0 {
		return true
	}
	for {
		total := 2 * (len(width) - 1)
		widest := -1
		for i, w := range width {
			total += w
			if columns[i].bends && w > leastBent && (widest < 0 || w > width[widest]) {
				widest = i
			}
		}
		if total <= room {
			return true
		}
		if widest < 0 {
			return false
		}
		width[widest] = max(leastBent, width[widest]-1)
	}
}

func (p *printer) row(row []string, width []int, st style) {
	wrapped := make([][]string, len(row))
	high := 1
	for i, cell := range row {
		wrapped[i] = wrap(cell, width[i])
		high = max(high, len(wrapped[i]))
	}
	for l := range high {
		var b strings.Builder
		for i := range row {
			cell := ""
			if l < len(wrapped[i]) {
				cell = wrapped[i][l]
			}
			b.WriteString(cell + strings.Repeat(" ", max(0, width[i]-cells(cell))+2))
		}
		p.raw(p.paint(strings.TrimRight(b.String(), " "), st) + "\n")
	}
}

func (p *printer) stacked(columns []column, rows [][]string) {
	label := 0
	for _, c := range columns {
		label = max(label, cells(c.head))
	}
	for n, row := range rows {
		if n > 0 {
			p.blank()
		}
		for i, cell := range row {
			p.item(0, dim, columns[i].head, label+2, cell)
		}
	}
}
