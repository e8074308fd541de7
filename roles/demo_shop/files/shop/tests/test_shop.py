# Copyright: (c) 2026, the weblab.stacks maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import http.server
import io
import json
import os
import socket
import socketserver
import tempfile
import threading
import typing as t
from pathlib import Path
from unittest import mock

from catalog import api as catalog_api
from catalog.models import Book
from django.conf import settings
from django.core.management import call_command
from django.test import Client, TestCase, override_settings
from django.test.utils import override_script_prefix
from pages.models import Page
from reviews import api as reviews_api
from reviews.models import Review
from shop import calls


class _Handler(http.server.BaseHTTPRequestHandler):
    """Another server in front of the same views: what it answers must equal the call in this process."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        part, function = self.path.split("/")[1], self.path.split("/")[3]
        self.server.seen.append((self.path, json.loads(body)))  # type: ignore[attr-defined]
        answers = self.server.answers  # type: ignore[attr-defined]
        answer = answers.get(f"{part}.{function}")
        payload = json.dumps({"result": answer, "pid": 4711, "user": "shop-other"}).encode()
        self.send_response(200 if answer is not None else 404)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *args: t.Any) -> None:
        pass


class Stocked(TestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        call_command("prepare", stdout=io.StringIO())


class PrepareTest(Stocked):
    def test_stock_is_complete_and_second_run_adds_nothing(self) -> None:
        stock = settings.MESSAGES["stock"]
        for _again in range(2):
            self.assertEqual(Book.objects.count(), len(stock["books"]))
            self.assertEqual(Review.objects.count(), len(stock["reviews"]))
            self.assertEqual(Page.objects.count(), len(stock["pages"]))
            call_command("prepare")

    def test_no_migration_is_missing(self) -> None:
        call_command("makemigrations", check=True, dry_run=True, verbosity=0)


class PagesTest(Stocked):
    def test_every_page_is_served(self) -> None:
        addresses = [
            "/",
            "/catalog/",
            "/reviews/",
            "/pages/about/",
            "/books/moby-dick/",
            "/catalog/moby-dick/",
            "/admin/login/",
        ]
        for address in addresses:
            with self.subTest(address):
                self.assertEqual(self.client.get(address).status_code, 200)

    def test_unknown_book_is_404(self) -> None:
        self.assertEqual(self.client.get("/books/no-such-book/").status_code, 404)

    def test_search(self) -> None:
        author = Book.objects.get(slug="moby-dick").author.name
        response = self.client.get("/catalog/", {"q": author})
        self.assertEqual([book["slug"] for book in response.context["books"]], ["moby-dick"])

    def test_links_honour_the_mount_point(self) -> None:
        with override_script_prefix("/shop/"):
            response = self.client.get("/catalog/")
        self.assertContains(response, 'href="/shop/catalog/moby-dick/"')

    def test_foot_tells_who_answered(self) -> None:
        self.assertContains(self.client.get("/"), settings.TEXTS["in_process"])


class ReviewTest(Stocked):
    good = {"name": "Reader <b>", "stars": "4", "text": "Long & good"}

    def test_review_is_published_and_escaped(self) -> None:
        response = self.client.post("/books/moby-dick/", self.good, follow=True)
        self.assertContains(response, "Reader &lt;b&gt;")
        self.assertNotContains(response, "Reader <b>")
        self.assertEqual(reviews_api.reviews(book="moby-dick")[0]["stars"], 4)

    def test_wrong_review_is_refused(self) -> None:
        before = Review.objects.count()
        response = self.client.post("/books/moby-dick/", {**self.good, "stars": "6"})
        self.assertEqual(response.status_code, 422)
        self.assertContains(response, settings.TEXTS["wrong_review"], status_code=422)
        self.assertEqual(Review.objects.count(), before)

    def test_needs_the_csrf_token(self) -> None:
        self.assertEqual(Client(enforce_csrf_checks=True).post("/books/moby-dick/", self.good).status_code, 403)

    def test_part_checks_for_itself(self) -> None:
        self.assertEqual(reviews_api.add("moby-dick", "", 9, "x"), ["name", "stars"])


class EndpointTest(Stocked):
    def post(self, path: str, body: str = "{}", **meta: str) -> t.Any:
        return self.client.post(path, body, content_type="application/json", **meta)

    def test_closed_to_visitors(self) -> None:
        for name in ("UWSGI_ROUTER", "HTTP_UWSGI_ROUTER", "HTTP_X_FORWARDED_FOR"):
            self.assertEqual(self.post("/catalog/api/books", **{name: "http"}).status_code, 404)

    def test_open_to_callers(self) -> None:
        with mock.patch.object(calls, "from_caller", return_value=True):
            answer = self.post("/catalog/api/book", '{"slug": "moby-dick"}').json()
        self.assertEqual(answer["result"], catalog_api.book("moby-dick"))
        self.assertEqual(answer["pid"], os.getpid())

    def test_the_kernel_tells_a_caller_from_a_visitor(self) -> None:
        for name, expected in ((b"http.sock", True), (b"front.sock", False)):
            with self.subTest(name), tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory.encode(), name)
                with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
                    listener.bind(path)
                    listener.listen()
                    client.connect(path)
                    connection = listener.accept()[0]
                    uwsgi = mock.Mock(opt={"http-socket": os.path.join(directory.encode(), b"http.sock")})
                    uwsgi.connection_fd.return_value = connection.fileno()
                    with connection, mock.patch.dict("sys.modules", uwsgi=uwsgi):
                        self.assertEqual(calls.from_caller(), expected)

    def test_offers_only_what_it_says(self) -> None:
        with mock.patch.object(calls, "from_caller", return_value=True):
            self.assertEqual(self.post("/catalog/api/_plain").status_code, 404)
            self.assertEqual(self.post("/catalog/api/book", '{"x": 1}').status_code, 400)
            self.assertEqual(self.post("/catalog/api/book", "not json").status_code, 400)

    def test_what_is_offered_survives_json(self) -> None:
        for value in (catalog_api.books(), reviews_api.ratings(), reviews_api.reviews()):
            self.assertEqual(json.loads(json.dumps(value)), value)


class SocketTest(Stocked):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = str(Path(directory.name) / "part.sock")

    def serve(self, **answers: t.Any) -> list[t.Any]:
        class Server(socketserver.UnixStreamServer):
            seen: list[t.Any] = []

            def get_request(self) -> tuple[t.Any, t.Any]:
                return super().get_request()[0], ("local", 0)

        server = Server(self.path, _Handler)
        server.seen = []
        server.answers = {name.replace("__", "."): answer for name, answer in answers.items()}  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return server.seen

    def sockets(self, **paths: str) -> t.Any:
        return override_settings(SOCKETS={"catalog": "", "reviews": "", **paths})

    def test_same_page_through_a_socket(self) -> None:
        seen = self.serve(catalog__book=catalog_api.book("moby-dick"))
        inside = self.client.get("/books/moby-dick/").context["book"]
        with self.sockets(catalog=self.path):
            response = self.client.get("/books/moby-dick/")
        self.assertEqual(response.context["book"], inside)
        self.assertEqual(seen, [("/catalog/api/book", {"slug": "moby-dick"})])
        self.assertContains(response, "shop-other")
        self.assertContains(response, "4711")

    def test_reviews_down_leaves_the_book(self) -> None:
        with self.sockets(reviews=self.path):
            response = self.client.get("/books/moby-dick/")
        self.assertContains(response, settings.TEXTS["down"])
        self.assertContains(response, response.context["book"]["title"])

    def test_catalog_down_is_said_gracefully(self) -> None:
        with self.sockets(catalog=self.path):
            self.assertContains(self.client.get("/"), settings.TEXTS["down"])
            response = self.client.get("/books/moby-dick/")
        self.assertContains(response, settings.TEXTS["down_title"], status_code=503)

    def test_silent_part_costs_no_more_than_the_timeout(self) -> None:
        with socket.socket(socket.AF_UNIX) as silent, self.sockets(catalog=self.path):
            silent.bind(self.path)
            silent.listen()
            with override_settings(CALL_TIMEOUT=0.05), self.assertRaises(calls.PartDownError) as caught:
                calls.call("catalog", "books")
        self.assertIn("timed out", caught.exception.reason)

    def test_nonsense_is_a_part_that_is_down(self) -> None:
        self.serve(catalog__books=[])
        with self.sockets(catalog=self.path), self.assertRaises(calls.PartDownError):
            calls.call("catalog", "no_such_function")

    def test_a_part_that_is_nowhere(self) -> None:
        with override_settings(PART="web"), self.assertRaises(calls.PartDownError) as caught:
            calls.call("catalog", "books")
        self.assertIn("CATALOG_SOCKET", caught.exception.reason)
