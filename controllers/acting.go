package controllers

import (
	"context"

	"clusterbackup/internal/coordinator"
)

// copiesOnly is a coordinator that acts for a source's host, as a client hears it: whatever it says, nothing is deleted, set aside or
// replaced for it, and it gives no generations. It says no such thing by itself; here it could not.
type copiesOnly struct{ Coordinator }

// Hello implements Coordinator.
func (c copiesOnly) Hello(ctx context.Context, q *coordinator.Hello) (*coordinator.HelloAnswer, error) {
	a, err := c.Coordinator.Hello(ctx, q)
	if err != nil {
		return nil, err
	}
	return a.CopiesOnly(), nil
}

// Inventory implements Coordinator.
func (c copiesOnly) Inventory(ctx context.Context, q *coordinator.Inventory) (*coordinator.InventoryAnswer, error) {
	a, err := c.Coordinator.Inventory(ctx, q)
	if err != nil {
		return nil, err
	}
	return a.CopiesOnly(), nil
}

// Claim implements Coordinator.
func (c copiesOnly) Claim(ctx context.Context, q *coordinator.Claim) (*coordinator.ClaimAnswer, error) {
	a, err := c.Coordinator.Claim(ctx, q)
	if err != nil {
		return nil, err
	}
	return a.CopiesOnly(), nil
}

// Confirm implements Coordinator.
func (c copiesOnly) Confirm(ctx context.Context, q *coordinator.Confirm) (*coordinator.ConfirmAnswer, error) {
	a, err := c.Coordinator.Confirm(ctx, q)
	if err != nil {
		return nil, err
	}
	return a.CopiesOnly(), nil
}

// Relieve implements Coordinator: it is not asked.
func (copiesOnly) Relieve(context.Context, *coordinator.Relieve) (*coordinator.RelieveAnswer, error) {
	return &coordinator.RelieveAnswer{}, nil
}

// Drop implements Coordinator: it is not asked.
func (copiesOnly) Drop(context.Context, *coordinator.Drop) (*coordinator.DropAnswer, error) {
	return &coordinator.DropAnswer{}, nil
}

// Retire implements Coordinator: it is not asked.
func (copiesOnly) Retire(context.Context, *coordinator.Retire) (*coordinator.RetireAnswer, error) {
	return &coordinator.RetireAnswer{}, nil
}
