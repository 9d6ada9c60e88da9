// Package shop is the domain: it says what should happen and knows neither a
// queue nor a handler.
package shop

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/goairlock/airlock"
	"github.com/goairlock/airlock/core"
)

// The tasks of the shop. Who does them, and where, is decided elsewhere.
var (
	SendReceipt = core.DeclareTask[Receipt]("email.receipt", core.Queue("mail"), core.MaxAttempts(5))
	PickOrder   = core.DeclareTask[Pick]("warehouse.pick", core.Queue("warehouse"))
	PrintLabel  = core.DeclareTask[Label]("warehouse.label", core.Queue("warehouse"))
	AskReview   = core.DeclareTask[Review]("email.review", core.Queue("mail"))
)

// Receipt is what SendReceipt needs to know.
type Receipt struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
}

// Pick is what PickOrder needs to know.
type Pick struct {
	Order string `json:"order"`
	Lines []Line `json:"lines"`
}

// Label is what PrintLabel needs to know.
type Label struct {
	Order string `json:"order"`
}

// Review is what AskReview needs to know.
type Review struct {
	Order    string `json:"order"`
	Customer string `json:"customer"`
}

// Order is an order as a customer placed it.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Card     string `json:"card"`
	Lines    []Line `json:"lines"`
}

// Line is one article of an order.
type Line struct {
	Article  string `json:"article"`
	Quantity int    `json:"quantity"`
	Cents    int64  `json:"cents"`
}

// Validate says what is wrong with an order, if anything is.
func (o Order) Validate() error {
	switch {
	case o.ID == "":
		return errors.New("no id")
	case !strings.Contains(o.Customer, "@"):
		return errors.New("customer: want an e-mail address")
	case o.Card == "":
		return errors.New("no card")
	case len(o.Lines) == 0:
		return errors.New("no lines")
	}
	for i, l := range o.Lines {
		switch {
		case l.Article == "":
			return fmt.Errorf("line %d: no article", i+1)
		case l.Quantity < 1:
			return fmt.Errorf("line %d: quantity %d, want at least 1", i+1, l.Quantity)
		case l.Cents < 0:
			return fmt.Errorf("line %d: %d cents, want at least 0", i+1, l.Cents)
		}
	}
	return nil
}

// ErrDeclined says that the bank refused the card.
var ErrDeclined = errors.New("card declined")

// Checkout takes an order. It asks for its side effects before it is sure to
// succeed, as code does that has grown: the scope around it makes that safe.
func Checkout(ctx context.Context, o Order) error {
	var cents int64
	for _, l := range o.Lines {
		cents += int64(l.Quantity) * l.Cents
	}
	if err := airlock.Enqueue(ctx, PickOrder, Pick{Order: o.ID, Lines: o.Lines}); err != nil {
		return err
	}
	receipt := Receipt{Order: o.ID, Customer: o.Customer, Cents: cents}
	// The order's ID makes the receipt one job, however often it is sent.
	if err := airlock.Enqueue(ctx, SendReceipt, receipt, core.ID("receipt:"+o.ID)); err != nil {
		return err
	}
	review := Review{Order: o.ID, Customer: o.Customer}
	if err := airlock.Enqueue(ctx, AskReview, review, core.Delay(2*time.Second)); err != nil {
		return err
	}
	return charge(o.Card)
}

// charge plays the bank: it declines cards that end in 0002.
func charge(card string) error {
	if strings.HasSuffix(card, "0002") {
		return ErrDeclined
	}
	return nil
}
