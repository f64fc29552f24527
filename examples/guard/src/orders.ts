import { Injectable } from '@nestjs/common';

/** An order. A person is known by the issuer and the subject together: two issuers may use the same subject. */
export interface Order {
  readonly id: number;
  readonly issuer: string;
  readonly customer: string;
  readonly item: string;
  paid: boolean;
}

/** The orders, in memory. */
@Injectable()
export class Orders {
  readonly #orders: Order[] = [];

  place(issuer: string, customer: string, item: string): Order {
    const order = { id: this.#orders.length + 1, issuer, customer, item, paid: false };
    this.#orders.push(order);
    return order;
  }

  find(id: number): Order | undefined {
    return this.#orders.find((order) => order.id === id);
  }

  /** Marks every order as paid. @returns how many were not. */
  settle(): number {
    const open = this.#orders.filter(({ paid }) => !paid);
    for (const order of open) order.paid = true;
    return open.length;
  }
}
