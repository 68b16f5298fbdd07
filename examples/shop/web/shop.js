const $ = (id) => document.getElementById(id);

async function ask(path, options) {
  const response = await fetch(path, options);
  const body = await response.json();
  if (!response.ok) throw new Error(body.error || response.statusText);
  return body;
}

function row(order) {
  const line = document.createElement("tr");
  const placed = new Date(order.placed).toLocaleString();
  for (const value of [order.id, order.product, order.quantity, order.price, placed]) {
    line.append(Object.assign(document.createElement("td"), { textContent: value }));
  }
  return line;
}

async function show() {
  const { orders, pod } = await ask("/api/orders");
  $("orders").replaceChildren(...orders.map(row));
  $("pod").textContent = pod;
}

$("order").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  const order = { product: form.get("product"), quantity: Number(form.get("quantity")) };
  try {
    const placed = await ask("/api/orders", { method: "POST", body: JSON.stringify(order) });
    $("said").textContent = `Order ${placed.id} is placed.`;
    await show();
  } catch (problem) {
    $("said").textContent = problem.message;
  }
});

async function start() {
  const { name, products } = await ask("/api/products");
  $("name").textContent = document.title = name;
  const choices = products.map((p) => new Option(`${p.name}, ${p.price}`, p.name));
  $("order").elements.product.replaceChildren(...choices);
  await show();
}

start().catch((problem) => { $("said").textContent = problem.message; });
