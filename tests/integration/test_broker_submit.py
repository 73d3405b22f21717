from tests.conftest import Hands
async def test_x(hands: Hands) -> None:
    await hands.begin("j", "t1:a", "t2:b<-t1")
    c = await hands.run("a")
    await hands.solve(c)
    await hands.settle("j")
    await hands.solve(await hands.run("b"))
    await hands.settle("j")
